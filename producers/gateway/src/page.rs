//! The OpenAPI document as a page: HTML and one style sheet. Takes the document as JSON, so that it shows all of it and
//! nothing else.
#![expect(clippy::indexing_slicing, reason = "a member that a JSON value lacks reads as null")]

use serde_json::{Map, Value};
use std::fmt::Write;

/// Its style sheet.
pub(crate) const STYLE: &str = include_str!("page.css");

/// The page of an OpenAPI document.
pub(crate) fn of(document: &Value) -> String {
    let title = text(&document["info"]["title"]);
    let calls = calls(document);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title} API</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><link rel=\"stylesheet\" href=\"/docs/style.css\"></head>\n\
         <body><h1>{title} {}</h1><p>{}</p><p>For machines: <a href=\"/openapi.json\">openapi.json</a>.</p>\n<nav>",
        text(&document["info"]["version"]),
        words(&document["info"]["description"]),
    );
    for call in &calls {
        let _ = write!(page, "<a href=\"#{}\">{} {}</a>", call.id(), call.method, escape(call.path));
    }
    page.push_str("</nav>\n");
    for call in &calls {
        call.write(document, &mut page);
    }
    page.push_str("<h2>Shapes</h2>\n");
    for (name, schema) in entries(&document["components"]["schemas"]) {
        let _ = writeln!(
            page,
            "<details id=\"{0}\"><summary>{0}</summary>{1}</details>",
            escape(name),
            json(schema)
        );
    }
    page.push_str("</body></html>\n");
    page
}

struct Call<'a> {
    path: &'a str,
    method: String,
    told: &'a Value,
}

fn calls(document: &Value) -> Vec<Call<'_>> {
    let all = entries(&document["paths"]).flat_map(|(path, methods)| {
        entries(methods).map(move |(method, told)| Call { path, method: method.to_uppercase(), told })
    });
    all.collect()
}

impl Call<'_> {
    fn id(&self) -> String {
        text(&self.told["operationId"])
    }

    fn write(&self, document: &Value, page: &mut String) {
        let (id, method, path) = (self.id(), &self.method, escape(self.path));
        let _ = writeln!(
            page,
            "<article id=\"{id}\"><h2><b class=\"{method}\">{method}</b> <code>{path}</code></h2><p>{}. {}</p><p>{}</p>",
            words(&self.told["summary"]),
            words(&self.told["description"]),
            self.access(),
        );
        self.write_parameters(page);
        for (media_type, content) in entries(&self.told["requestBody"]["content"]) {
            let _ = write!(page, "<h3>Body <code>{}</code></h3>{}", escape(media_type), of_content(content));
        }
        page.push_str("<h3>Answers</h3><dl>\n");
        for (status, answer) in entries(&self.told["responses"]) {
            let answer = resolved(document, answer);
            let _ = write!(page, "<dt>{}</dt><dd>{}", escape(status), words(&answer["description"]));
            for (name, header) in entries(&answer["headers"]) {
                let _ = write!(page, "<br><code>{}</code> {}", escape(name), words(&header["description"]));
            }
            for (media_type, content) in entries(&answer["content"]) {
                let (media_type, content) = (escape(media_type), of_content(content));
                let _ = write!(page, "<details><summary>{media_type}</summary>{content}</details>");
            }
            page.push_str("</dd>\n");
        }
        page.push_str("</dl></article>\n");
    }

    fn access(&self) -> String {
        let scope = self.told.pointer("/security/0/bearer/0").and_then(Value::as_str);
        match (self.told.pointer("/security/0"), scope) {
            (None, _) => "Without a token.".to_owned(),
            (Some(_), None) => "With a bearer token; the caller's own.".to_owned(),
            (Some(_), Some(scope)) => {
                format!("With a bearer token that has the scope <code>{}</code>.", escape(scope))
            }
        }
    }

    fn write_parameters(&self, page: &mut String) {
        let Some(parameters) = self.told["parameters"].as_array() else { return };
        page.push_str("<table><tr><th>in</th><th>name</th><th></th><th>shape</th></tr>\n");
        for parameter in parameters {
            let needed = if parameter["required"] == true { " (required)" } else { "" };
            let _ = writeln!(
                page,
                "<tr><td>{}</td><td><code>{}</code>{needed}</td><td>{}</td><td><code>{}</code></td></tr>",
                text(&parameter["in"]),
                text(&parameter["name"]),
                words(&parameter["description"]),
                escape(&parameter["schema"].to_string()),
            );
        }
        page.push_str("</table>\n");
    }
}

fn of_content(content: &Value) -> String {
    let mut told = String::new();
    for example in std::iter::once(&content["example"]).filter(|example| !example.is_null()) {
        told.push_str(&json(example));
    }
    for (_, example) in entries(&content["examples"]) {
        told.push_str(&json(&example["value"]));
    }
    match content["schema"]["$ref"].as_str().and_then(|name| name.rsplit('/').next()) {
        Some(name) => {
            let _ = write!(told, "<p>Shape: <a href=\"#{0}\">{0}</a></p>", escape(name));
        }
        None => {
            let _ = write!(told, "<details><summary>shape</summary>{}</details>", json(&content["schema"]));
        }
    }
    told
}

/// What a reference stands for; anything else is itself.
fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    let path = value["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
    path.and_then(|path| document.pointer(path)).unwrap_or(value)
}

fn entries(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let object: Option<&Map<String, Value>> = value.as_object();
    object.into_iter().flatten().map(|(name, value)| (name.as_str(), value))
}

fn json(value: &Value) -> String {
    format!("<pre>{}</pre>", escape(&serde_json::to_string_pretty(value).unwrap_or_default()))
}

fn text(value: &Value) -> String {
    escape(value.as_str().unwrap_or_default())
}

/// Text with code in backticks.
fn words(value: &Value) -> String {
    let escaped = text(value);
    let mut is_code = false;
    let mut told = String::with_capacity(escaped.len());
    for (at, part) in escaped.split('`').enumerate() {
        if at > 0 {
            told.push_str(if is_code { "</code>" } else { "<code>" });
            is_code = !is_code;
        }
        told.push_str(part);
    }
    if is_code {
        told.push_str("</code>");
    }
    told
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_told_is_shown_and_never_run() {
        let document = json!({
            "info": {"title": "<T>", "version": "1", "description": "a `b` <script>"},
            "paths": {"/x/{id}": {"get": {
                "operationId": "getX", "summary": "An \"x\"", "security": [{"bearer": ["x:read"]}],
                "parameters": [{"in": "path", "name": "id", "required": true, "schema": {"type": "string"}}],
                "responses": {"404": {"description": "None", "content": {"application/problem+json": {
                    "examples": {"a": {"value": {"status": 404}}}, "schema": {"$ref": "#/components/schemas/Problem"}}}}}
            }}},
            "components": {"schemas": {"Problem": {"type": "object"}}}
        });
        let page = of(&document);
        assert!(!page.contains("<script") && !page.contains("<T>"), "{page}");
        for shown in [
            "a <code>b</code> &lt;script&gt;",
            "An &quot;x&quot;",
            "x:read",
            "/x/{id}",
            "(required)",
            "404",
            "#Problem",
        ] {
            assert!(page.contains(shown), "{shown} is not in {page}");
        }
    }
}
