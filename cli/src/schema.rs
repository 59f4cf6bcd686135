//! `--schema`: the JSON schema of what `--json` prints, made from the columns.

use serde_json::{Map, Value, json};

use crate::{Field, Manual, Table, Type, manual::STATISTICS};

/// Version of the JSON objects, in the `$id` of the schema. It rises when a member changes its meaning or is
/// removed.
const VERSION: u32 = 1;

impl Manual {
    /// The JSON schema of the command's objects, as text.
    #[must_use]
    pub fn schema(&self) -> String {
        schema(self)
    }
}

fn schema(manual: &Manual) -> String {
    let name = manual.command.get_name();
    let tool = name.strip_prefix("sctp-").unwrap_or(name);
    let objects: Vec<Value> =
        types(&manual.tables).into_iter().map(|kind| object(tool, kind, manual)).collect();
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": format!("urn:sctptrace:{name}:{VERSION}"),
        "title": format!("A line of {name} --json"),
        "oneOf": objects.into_iter().chain([end(tool)]).collect::<Vec<_>>(),
    });
    format!("{schema:#}")
}

/// The `type`s of the objects that the tables describe, and of rows of statistics, each once.
fn types(tables: &[Table]) -> Vec<&'static str> {
    let mut types = Vec::new();
    for kind in tables.iter().flat_map(|table| table.objects).chain(STATISTICS) {
        if !types.contains(kind) {
            types.push(*kind);
        }
    }
    types
}

fn object(tool: &str, kind: &str, manual: &Manual) -> Value {
    let tables = manual.tables.iter().filter(|table| table.objects.contains(&kind));
    let fields: Vec<(&Field, bool)> =
        tables.flat_map(|table| table.fields.iter().map(|field| (field, table.optional))).collect();
    let (mut properties, mut required) = head(tool, kind);
    properties.extend(fields.iter().map(|(field, _)| (field.name.clone(), property(field))));
    required.extend(fields.iter().filter(|(_, optional)| !optional).map(|(field, _)| field.name.as_str()));
    json!({ "type": "object", "properties": properties, "required": required })
}

/// The schemas of the members that every object begins with, and the names of these members.
fn head(tool: &str, kind: &str) -> (Map<String, Value>, Vec<&'static str>) {
    let time = json!({ "type": "string", "format": "date-time", "description": "when, in UTC" });
    let members = [("type", json!({ "const": kind })), ("tool", json!({ "const": tool })), ("time", time)];
    (
        members.map(|(name, value)| (name.to_owned(), value)).into_iter().collect(),
        vec!["type", "tool", "time"],
    )
}

fn property(field: &Field) -> Value {
    let kind = format!("{:?}", field.kind).to_lowercase();
    if field.json_type == Type::Array {
        let members: Map<String, Value> =
            field.items.iter().map(|item| (item.name.clone(), property(item))).collect();
        let required: Vec<&str> = field.items.iter().map(|item| item.name.as_str()).collect();
        let items = json!({ "type": "object", "properties": members, "required": required });
        return json!({ "type": "array", "items": items, "description": field.doc });
    }
    if field.json_type == Type::Object {
        let number = json!({ "type": "number" });
        return json!({ "type": "object", "additionalProperties": number, "description": field.doc });
    }
    let json_type = format!("{:?}", field.json_type).to_lowercase();
    json!({ "type": [json_type, "null"], "description": field.doc, "x-kind": kind })
}

/// The schema of the last object of a run, which has the accounting.
fn end(tool: &str) -> Value {
    let (mut properties, mut required) = head(tool, "end");
    let count = |doc: &str| json!({ "type": "integer", "description": doc });
    for (name, value) in [
        ("duration_s", json!({ "type": "number", "description": "how long the trace ran" })),
        ("events", count("events seen")),
        ("lost", count("events whose object could not be written in time")),
        ("evicted", count("table entries that made room for newer ones")),
        (
            "outstanding",
            json!({
                "type": ["integer", "null"],
                "description": "chunks that were sent and still waited for their SACK",
            }),
        ),
        (
            "unseen",
            json!({
                "type": ["integer", "null"],
                "description": "chunks that the kernel counted as sent, and no program saw",
            }),
        ),
        (
            "hooks_off",
            json!({
                "type": "boolean",
                "description": "whether the kernel's function tracing was off at the end, so that events are missing",
            }),
        ),
        (
            "memory_bytes",
            json!({
                "type": ["integer", "null"],
                "description": "kernel memory of the tables",
            }),
        ),
        (
            "skipped",
            json!({
                "type": "object",
                "additionalProperties": { "type": "integer" },
                "description": "events that gave no sample, by reason",
            }),
        ),
        ("dropped_lines", count("lines that were not written, as their reader did not take them in time")),
    ] {
        properties.insert(name.to_owned(), value);
        required.push(name);
    }
    json!({ "type": "object", "properties": properties, "required": required })
}
