//! A form as Stripe takes it: known fields alone, each once.

use crate::ledger::Metadata;
use std::collections::BTreeMap;

/// Its fields, metadata apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Form {
    fields: BTreeMap<String, String>,
    pub(crate) metadata: Metadata,
}

impl Form {
    /// Reads it; else the name of the field that is wrong.
    pub(crate) fn read(body: &[u8], known: &[&str]) -> Result<Self, String> {
        let mut form = Self::default();
        for (name, value) in form_urlencoded::parse(body) {
            let word = name.strip_prefix("metadata[").and_then(|rest| rest.strip_suffix(']'));
            let before = match word {
                Some(word) => form.metadata.insert(word.to_owned(), value.into_owned()),
                None if known.contains(&&*name) => {
                    form.fields.insert(name.clone().into_owned(), value.into_owned())
                }
                None => return Err(name.into_owned()),
            };
            if before.is_some() {
                return Err(name.into_owned());
            }
        }
        Ok(form)
    }

    pub(crate) fn text(&self, name: &str) -> Result<&str, String> {
        self.fields
            .get(name)
            .map(String::as_str)
            .filter(|text| !text.is_empty())
            .ok_or_else(|| name.to_owned())
    }

    /// An amount above zero.
    pub(crate) fn amount(&self) -> Result<i64, String> {
        self.text("amount")?.parse().ok().filter(|amount| *amount > 0).ok_or_else(|| "amount".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_has_known_fields_once_and_any_metadata() {
        let form = Form::read(b"amount=12&metadata%5Border_id%5D=a%20b", &["amount"]).unwrap();
        assert_eq!((form.amount(), form.metadata["order_id"].as_str()), (Ok(12), "a b"));
        for (body, wrong) in [("colour=red", "colour"), ("amount=1&amount=2", "amount")] {
            assert_eq!(Form::read(body.as_bytes(), &["amount"]), Err(wrong.to_owned()));
        }
        for body in ["", "amount=", "amount=0", "amount=-1", "amount=1.5", "amount=99999999999999999999"] {
            assert_eq!(
                Form::read(body.as_bytes(), &["amount"]).unwrap().amount(),
                Err("amount".to_owned()),
                "{body}"
            );
        }
    }
}
