//! A canvas for charts, and the parts of SVG that plotters cannot write.

use plotters::{
    coord::Shift,
    prelude::{Circle, DrawingArea, IntoDrawingArea, PathElement, Polygon, Rectangle, SVGBackend},
    style::{
        Color as _, IntoFont, RGBColor, ShapeStyle, TextStyle,
        text_anchor::{HPos, Pos, VPos},
    },
};

use crate::escape::html;

/// Width of each chart in pixels.
pub const WIDTH: i32 = 900;

/// A colour. In dark mode the style sheet replaces some colours, which it finds by their values.
pub type Rgb = (u8, u8, u8);

/// Colour of text and axes.
pub const INK: Rgb = (0x33, 0x33, 0x33);
/// Colour of the lines of the grid.
pub const GRID: Rgb = (0xDD, 0xDD, 0xDD);
/// Colour of marks that belong to no series.
pub const MARK: Rgb = (0x77, 0x77, 0x77);
/// Colour of marks of something wrong, such as stalls.
pub const WRONG: Rgb = (0xD5, 0x5E, 0x01);

/// A line's colour and dashes.
#[derive(Clone, Copy, Debug)]
pub struct Stroke {
    /// Colour. No two strokes have the same colour, as [`finish`] finds lines by their colours.
    pub rgb: Rgb,
    /// Lengths of dashes and gaps; empty: a solid line.
    pub dashes: &'static str,
}

/// Strokes that colour-blind people can tell apart: the palette of Okabe and Ito, each with dashes of its own.
pub const STROKES: [Stroke; 8] = [
    Stroke { rgb: (0x00, 0x72, 0xB2), dashes: "" },
    Stroke { rgb: (0xD5, 0x5E, 0x00), dashes: "7 3" },
    Stroke { rgb: (0x00, 0x9E, 0x73), dashes: "2 2" },
    Stroke { rgb: (0xCC, 0x79, 0xA7), dashes: "10 3 2 3" },
    Stroke { rgb: (0xE6, 0x9F, 0x00), dashes: "4 4" },
    Stroke { rgb: (0x56, 0xB4, 0xE9), dashes: "14 3" },
    Stroke { rgb: (0x8A, 0x8A, 0x00), dashes: "1 3" },
    Stroke { rgb: (0x66, 0x66, 0x66), dashes: "7 2 1 2 1 2" },
];

/// A dashed line across a chart.
const MARK_DASHES: &str = "3 3";

/// Font size that plotters takes for 12 pixels.
const FONT: f64 = 14.88;

/// Pixels that a letter takes on average. Plotters cannot measure text without its font libraries.
pub const LETTER: f64 = 6.6;

/// Where a text stands, seen from its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// Right of the point.
    Start,
    /// Around the point.
    Middle,
    /// Left of the point.
    End,
}

/// Where to draw. Drawing into a text cannot fail.
pub struct Canvas<'a>(DrawingArea<SVGBackend<'a>, Shift>);

/// Draws a chart `height` pixels high. Returns its SVG, without title.
pub fn draw(height: i32, on: impl FnOnce(&Canvas<'_>)) -> String {
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, (WIDTH as u32, height as u32)).into_drawing_area();
    let canvas = Canvas(area);
    on(&canvas);
    let _ = canvas.0.present();
    drop(canvas);
    svg
}

fn color((r, g, b): Rgb) -> RGBColor {
    RGBColor(r, g, b)
}

impl Canvas<'_> {
    /// Draws a line through points, `width` pixels wide.
    pub fn line(&self, points: Vec<(i32, i32)>, rgb: Rgb, width: u32) {
        let _ = self.0.draw(&PathElement::new(points, ShapeStyle::from(color(rgb)).stroke_width(width)));
    }

    /// Draws a filled polygon; `opacity` from 0 to 1.
    pub fn polygon(&self, points: Vec<(i32, i32)>, rgb: Rgb, opacity: f64) {
        let _ = self.0.draw(&Polygon::new(points, color(rgb).mix(opacity).filled()));
    }

    /// Draws a filled rectangle.
    pub fn rectangle(&self, corners: [(i32, i32); 2], rgb: Rgb, opacity: f64) {
        let _ = self.0.draw(&Rectangle::new(corners, color(rgb).mix(opacity).filled()));
    }

    /// Draws a dot.
    pub fn dot(&self, at: (i32, i32), rgb: Rgb) {
        let _ = self.0.draw(&Circle::new(at, 2, color(rgb).filled()));
    }

    /// Writes a text. The caller replaces characters that cannot be seen; plotters escapes those that SVG needs
    /// escaped.
    pub fn text(&self, text: &str, at: (i32, i32), anchor: Anchor, rgb: Rgb) {
        let h = match anchor {
            Anchor::Start => HPos::Left,
            Anchor::Middle => HPos::Center,
            Anchor::End => HPos::Right,
        };
        let color = color(rgb);
        let style =
            TextStyle::from(("sans-serif", FONT).into_font()).pos(Pos::new(h, VPos::Center)).color(&color);
        let _ = self.0.draw_text(text, &style, at);
    }
}

/// Adds to the SVG of plotters what a screen reader says (`title`, `desc`), the dashes, and `attributes` of the root; and
/// takes away what each element repeats. `id` is unique on the page.
#[must_use]
pub fn finish(svg: &str, id: &str, title: &str, description: &str, attributes: &str) -> String {
    let font = format!(" font-family=\"sans-serif\" font-size=\"{}\"", FONT / 1.24);
    let mut svg =
        svg.replace(&font, "").replace(" opacity=\"1\"", "").replace('\n', "").replace(" \"/>", "\"/>");
    let marks = Stroke { rgb: MARK, dashes: MARK_DASHES };
    for Stroke { rgb: (r, g, b), dashes } in STROKES.into_iter().chain([marks]) {
        if !dashes.is_empty() {
            let stroke = format!(" stroke=\"#{r:02X}{g:02X}{b:02X}\"");
            svg = svg.replace(&stroke, &format!("{stroke} stroke-dasharray=\"{dashes}\""));
        }
    }
    let Some((root, rest)) = svg.split_once('>') else { return svg };
    format!(
        "{root} font-family=\"sans-serif\" font-size=\"12\" role=\"img\" aria-labelledby=\"{id}-t {id}-d\"{attributes}>\
         <title id=\"{id}-t\">{}</title><desc id=\"{id}-d\">{}</desc>{rest}",
        html(title),
        html(description)
    )
}
