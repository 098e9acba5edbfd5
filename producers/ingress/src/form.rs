//! Reading a body field by field, gathering every error instead of stopping at the first.

use crate::{
    body::Json,
    problem::{FieldError, Problem},
};
use std::str::FromStr;

/// The errors found so far.
#[derive(Debug, Default)]
pub struct Findings {
    errors: Vec<FieldError>,
}

/// Most errors that are gathered; a body of 64 KiB could hold thousands.
const MAX_ERRORS: usize = 100;

impl Findings {
    /// Adds one error.
    pub fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        if self.errors.len() < MAX_ERRORS {
            self.errors.push(FieldError::new(field, message));
        }
    }

    /// Whether nothing was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.errors.is_empty()
    }

    /// `value` when nothing was found.
    ///
    /// # Errors
    /// A 422 problem with all errors otherwise.
    pub fn finish<T>(self, value: Option<T>) -> Result<T, Problem> {
        match value {
            Some(value) if self.errors.is_empty() => Ok(value),
            _ => Err(Problem::invalid(self.errors)),
        }
    }
}

/// An object whose fields are taken one by one; what is left is unknown and refused by [`Form::done`].
#[derive(Debug)]
pub struct Form {
    at: String,
    fields: Vec<(String, Json)>,
}

impl Form {
    /// The object at `at` (empty for the body itself); anything else is an error.
    pub fn open(json: Json, at: &str, findings: &mut Findings) -> Option<Self> {
        match json {
            Json::Object(fields) => Some(Self { at: at.to_owned(), fields }),
            _ => {
                findings.add(at, "must be an object");
                None
            }
        }
    }

    /// Where the field `name` stands, e.g. `items[2].quantity`.
    #[must_use]
    pub fn path(&self, name: &str) -> String {
        if self.at.is_empty() { name.to_owned() } else { format!("{}.{name}", self.at) }
    }

    /// A field that may be left out; `null` counts as left out.
    fn take(&mut self, name: &str) -> Option<Json> {
        let at = self.fields.iter().position(|(key, _)| key == name)?;
        Some(self.fields.swap_remove(at).1).filter(|json| *json != Json::Null)
    }

    fn required(&mut self, name: &str, findings: &mut Findings) -> Option<Json> {
        let found = self.take(name);
        if found.is_none() {
            findings.add(self.path(name), "is required");
        }
        found
    }

    /// A required string.
    pub fn text(&mut self, name: &str, findings: &mut Findings) -> Option<String> {
        match self.required(name, findings)? {
            Json::Text(text) => Some(text),
            _ => {
                findings.add(self.path(name), "must be a string");
                None
            }
        }
    }

    /// A required string of 1 to `most` characters that holds more than blanks and no control characters but line
    /// feeds and tabs.
    pub fn words(&mut self, name: &str, most: usize, findings: &mut Findings) -> Option<String> {
        let text = self.text(name, findings)?;
        let is_fine = |c: char| !c.is_control() || c == '\n' || c == '\t';
        let message = if text.trim().is_empty() {
            "must not be empty".to_owned()
        } else if text.chars().count() > most {
            format!("must have at most {most} characters")
        } else if !text.chars().all(is_fine) {
            "must not hold control characters".to_owned()
        } else {
            return Some(text);
        };
        findings.add(self.path(name), message);
        None
    }

    /// As [`Form::words`], and may be left out.
    pub fn optional_words(&mut self, name: &str, most: usize, findings: &mut Findings) -> Option<String> {
        if self.holds(name) {
            return self.words(name, most, findings);
        }
        self.take(name);
        None
    }

    /// A required string that reads as `T`; `expected` says what that is.
    pub fn parsed<T: FromStr>(&mut self, name: &str, expected: &str, findings: &mut Findings) -> Option<T> {
        let value = self.text(name, findings)?.parse().ok();
        if value.is_none() {
            findings.add(self.path(name), format!("must be {expected}"));
        }
        value
    }

    /// A required whole number from `least` to `most`, also one that is written with a fraction of nothing (`2.0`).
    pub fn whole(&mut self, name: &str, least: i64, most: i64, findings: &mut Findings) -> Option<i64> {
        let number = match self.required(name, findings)? {
            Json::Number(number) => number.as_i64().or_else(|| number.as_f64().and_then(exactly)),
            _ => None,
        };
        let number = number.filter(|number| (least..=most).contains(number));
        if number.is_none() {
            findings.add(self.path(name), format!("must be a whole number from {least} to {most}"));
        }
        number
    }

    /// Whether the field is there and not `null`.
    #[must_use]
    pub fn holds(&self, name: &str) -> bool {
        self.fields.iter().any(|(key, json)| key == name && *json != Json::Null)
    }

    /// A required boolean.
    pub fn flag(&mut self, name: &str, findings: &mut Findings) -> Option<bool> {
        match self.required(name, findings)? {
            Json::Bool(is) => Some(is),
            _ => {
                findings.add(self.path(name), "must be true or false");
                None
            }
        }
    }

    /// A required object.
    pub fn object(&mut self, name: &str, findings: &mut Findings) -> Option<Form> {
        let json = self.required(name, findings)?;
        Form::open(json, &self.path(name), findings)
    }

    /// A required array.
    pub fn list(&mut self, name: &str, findings: &mut Findings) -> Option<Vec<Json>> {
        match self.required(name, findings)? {
            Json::List(items) => Some(items),
            _ => {
                findings.add(self.path(name), "must be an array");
                None
            }
        }
    }

    /// Refuses what was not taken.
    pub fn done(self, findings: &mut Findings) {
        for (name, _) in &self.fields {
            let shown: String = name.chars().take(40).collect();
            findings.add(self.path(&shown.escape_debug().to_string()), "is not a field of this request");
        }
    }
}

/// The whole number that is meant. Above 2⁵³ it is not known any more: a float there may have been another number.
fn exactly(number: f64) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    (number.fract() == 0.0 && number.abs() < EXACT).then_some(number as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_number_is_taken_however_it_is_written_and_never_rounded() {
        let read = |text: &str| {
            let mut findings = Findings::default();
            let json = Json::Object(vec![("a".to_owned(), Json::parse(text.as_bytes()).unwrap())]);
            Form::open(json, "", &mut findings).unwrap().whole("a", i64::MIN, i64::MAX, &mut findings)
        };
        assert_eq!(["2", "2.0", "2e0", "-0.0"].map(read), [Some(2), Some(2), Some(2), Some(0)]);
        assert_eq!(["2.5", "9007199254740993.0", "1e300", "9223372036854775808"].map(read), [None; 4]);
        assert_eq!(read("9223372036854775807"), Some(i64::MAX));
    }

    #[test]
    fn all_errors_are_found_at_once() {
        let json = Json::parse(br#"{"a": "", "b": 2147483648, "c": {}, "e": 1.5, "x": null}"#).unwrap();
        let mut findings = Findings::default();
        let mut form = Form::open(json, "", &mut findings).unwrap();
        assert_eq!(form.words("a", 5, &mut findings), None);
        assert_eq!(form.whole("b", 1, 10, &mut findings), None);
        assert_eq!(form.list("c", &mut findings), None);
        assert_eq!(form.text("d", &mut findings), None);
        assert_eq!(form.whole("e", 1, 10, &mut findings), None);
        form.done(&mut findings);
        let problem = findings.finish(Some(())).unwrap_err();
        let fields: Vec<_> = problem.errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(fields, ["a", "b", "c", "d", "e", "x"]);
    }

    #[test]
    fn text_that_a_database_or_terminal_would_choke_on_is_refused() {
        for bad in ["\u{0}", "a\u{1b}[31m", "   ", "123456"] {
            let mut findings = Findings::default();
            let json = Json::Object(vec![("a".to_owned(), Json::Text(bad.to_owned()))]);
            let mut form = Form::open(json, "", &mut findings).unwrap();
            assert_eq!(form.words("a", 5, &mut findings), None, "{bad:?}");
        }
    }
}
