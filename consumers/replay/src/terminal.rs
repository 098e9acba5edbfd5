//! JSON that a terminal may print. What a record says was written by anybody: control characters beyond those that JSON
//! escapes anyway, and marks that turn the direction of writing, would be obeyed by the operator's terminal.

use std::fmt::Write;

/// `json` with such characters as escapes. They stand in strings only, so its meaning is the same.
#[must_use]
pub fn for_terminals(json: String) -> String {
    if !json.chars().any(is_obeyed) {
        return json;
    }
    json.chars().fold(String::with_capacity(json.len() + 16), |mut text, c| {
        if is_obeyed(c) {
            // all of them lie in the basic plane; writing to a string does not fail
            let _ = write!(text, "\\u{:04x}", u32::from(c));
        } else {
            text.push(c);
        }
        text
    })
}

fn is_obeyed(c: char) -> bool {
    matches!(c, '\u{7f}'..='\u{9f}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_escaped_and_means_the_same() {
        let nasty = "\u{1b}[2J \u{9b}31m \u{7f} \u{85} \u{202e}txet \u{2066} \r\n é 🦀";
        let printed = for_terminals(serde_json::to_string_pretty(&[nasty]).unwrap());
        let obeyed = |c: char| c != '\n' && (c.is_control() || is_obeyed(c));
        assert!(!printed.chars().any(obeyed), "{printed:?}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&printed).unwrap(), [nasty]);
    }
}
