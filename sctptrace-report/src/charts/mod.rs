//! The charts of an association. All share one axis of time. Each is made only if the data of its command is there.

mod blocking;
mod buffers;
mod figures;
mod jitter;
mod latency;
mod limited;
pub mod plot;
mod rto;
mod streams;
pub mod svg;
mod what_happened;
mod windows;

use crate::{charts::plot::Axis, escape::html, model::Model};

/// A chart, with the table of its numbers.
#[derive(Clone, Debug)]
pub struct Chart {
    /// Name in ids and names of files.
    pub name: &'static str,
    /// Title with unit.
    pub title: String,
    /// What the chart shows, in words, for people who cannot see it.
    pub description: String,
    /// SVG as plotters made it.
    body: String,
    /// The scales, as attributes of the SVG's root.
    attributes: String,
    /// The numbers that the chart shows.
    pub table: Table,
}

/// A table of numbers.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Heads of the columns.
    pub head: Vec<String>,
    /// Cells, row by row.
    pub rows: Vec<Vec<String>>,
}

impl Chart {
    /// Returns the chart as SVG to put into the page. The id of the SVG is `prefix` and the chart's name.
    #[must_use]
    pub fn inline(&self, prefix: &str) -> String {
        let id = format!("{prefix}-{}", self.name);
        svg::finish(&self.body, &id, &self.title, &self.description, &self.attributes)
    }

    /// Returns the chart as an SVG file of its own, on a white ground.
    #[must_use]
    pub fn file(&self) -> String {
        let svg = svg::finish(&self.body, self.name, &self.title, &self.description, &self.attributes);
        let white = "<rect width=\"100%\" height=\"100%\" fill=\"#FFFFFF\"/>";
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}\n",
            svg.replacen("</desc>", &format!("</desc>{white}"), 1)
        )
    }
}

impl Table {
    /// Returns the table in HTML, with `caption`.
    #[must_use]
    pub fn html(&self, caption: &str) -> String {
        let head: String =
            self.head.iter().map(|cell| format!("<th scope=\"col\">{}</th>", html(cell))).collect();
        let row = |cells: &Vec<String>| {
            let mut cells = cells.iter().map(|cell| html(cell));
            let first = cells.next().unwrap_or_default();
            let is_number = |cell: &str| {
                cell == "–"
                    || cell.starts_with(|c: char| c == '-' || c.is_ascii_digit()) && !cell.contains(' ')
            };
            let class = |cell: &str| if is_number(cell) { "" } else { " class=\"text\"" };
            let rest: String = cells.map(|cell| format!("<td{}>{cell}</td>", class(&cell))).collect();
            format!("<tr><th scope=\"row\">{first}</th>{rest}</tr>")
        };
        let rows: String = self.rows.iter().map(row).collect();
        format!(
            "<table class=\"numbers\"><caption>{}</caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>",
            html(caption)
        )
    }
}

/// The charts of the association with this index. Empty if the association has nothing in the time that is shown.
#[must_use]
pub fn of(model: &Model, index: usize) -> Vec<Chart> {
    let association = &model.associations[index];
    let Some(span) = association.span else { return Vec::new() };
    let axis = Axis::around(span);
    let period = model.period("streamutil");
    let charts = [
        what_happened::chart(model, index, axis),
        latency::chart(association, axis),
        rto::chart(association, axis),
        limited::chart(association, axis, model.period("bufmon")),
        buffers::chart(association, axis),
        windows::chart(association, axis),
        jitter::chart(association, axis),
        streams::chart(association, axis, period),
        blocking::chart(association, axis, period),
    ];
    charts.into_iter().flatten().collect()
}
