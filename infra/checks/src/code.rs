//! A Rust file, told apart into code, comments and string literals: just enough of the language for that.

use std::path::{Path, PathBuf};

/// One file.
#[derive(Debug)]
pub struct Code {
    /// From the workspace's folder.
    pub path: PathBuf,
    /// The text with comments, and what stands in literals, blanked out; quotes and line breaks stay in place.
    /// `#[cfg(test)]` items are blanked out as well.
    pub text: String,
    /// The string literals outside of `#[cfg(test)]` items: line, from 1, and text as written.
    pub literals: Vec<(usize, String)>,
    modules_for_tests: Vec<String>,
}

impl Code {
    /// Reads a file.
    pub fn read(root: &Path, path: PathBuf) -> Self {
        let source = std::fs::read_to_string(root.join(&path)).unwrap();
        Self::of(path, &source)
    }

    fn of(path: PathBuf, source: &str) -> Self {
        let mut blanked = Blanked::of(source);
        let modules_for_tests = blanked.cut_test_items();
        let starts: Vec<usize> = source.match_indices('\n').map(|(at, _)| at).collect();
        let line = |at: usize| starts.partition_point(|start| *start < at) + 1;
        let literals = blanked.literals.into_iter().map(|(at, text)| (line(at), text)).collect();
        let text = String::from_utf8(blanked.bytes).unwrap();
        Self { path, text, literals, modules_for_tests }
    }

    /// Modules in files of their own that are there for tests only, as paths without extension.
    pub fn modules_for_tests(&self) -> Vec<PathBuf> {
        let folder = match self.path.file_stem().and_then(|stem| stem.to_str()) {
            Some("lib" | "main" | "mod") => self.path.parent().unwrap().to_owned(),
            _ => self.path.with_extension(""),
        };
        self.modules_for_tests.iter().map(|name| folder.join(name)).collect()
    }

    /// `path:line` of each place in the code where `pattern` stands as a word or words.
    pub fn places(&self, pattern: &str) -> Vec<String> {
        let is_word = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
        let bytes = self.text.as_bytes();
        self.text
            .match_indices(pattern)
            .filter(|(at, _)| !(is_word(pattern.as_bytes().first()) && *at > 0 && is_word(bytes.get(at - 1))))
            .filter(|(at, _)| !(is_word(pattern.as_bytes().last()) && is_word(bytes.get(at + pattern.len()))))
            .map(|(at, _)| format!("{}:{}", self.path.display(), self.text[..at].matches('\n').count() + 1))
            .collect()
    }
}

/// A text with its comments and literals blanked out, byte for byte in place.
struct Blanked {
    bytes: Vec<u8>,
    literals: Vec<(usize, String)>,
}

impl Blanked {
    fn of(source: &str) -> Self {
        let mut blanked = Self { bytes: source.as_bytes().to_vec(), literals: Vec::new() };
        let mut at = 0;
        while at < source.len() {
            at = blanked.step(source, at);
        }
        blanked
    }

    /// Passes over one thing that begins at `at`; returns where the next begins.
    fn step(&mut self, source: &str, at: usize) -> usize {
        let rest = &source.as_bytes()[at..];
        let before = at.checked_sub(1).map(|before| source.as_bytes()[before]);
        let in_word = before.is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
        match rest {
            [b'/', b'/', ..] => self.blank(at, find(rest, b"\n").map_or(source.len(), |end| at + end)),
            [b'/', b'*', ..] => self.blank(at, at + block_comment(rest)),
            [b'"', ..] => self.literal(source, at + 1, string(&rest[1..]), 1),
            [b'r', b'"' | b'#', ..] if !in_word => self.raw(source, at),
            [b'b' | b'c', b'r', b'"' | b'#', ..] if !in_word => self.raw(source, at + 1),
            [b'\'', b'\\', ..] => {
                let end = find(&rest[3..], b"'").map_or(rest.len(), |end| end + 4);
                self.blank(at, at + end)
            }
            [b'\'', ..] => {
                // a character, unless no quote follows it: then it is a lifetime
                let width = source[at + 1..].chars().next().map_or(1, char::len_utf8);
                if rest.get(1 + width) == Some(&b'\'') { self.blank(at, at + width + 2) } else { at + 1 }
            }
            _ => at + 1,
        }
    }

    fn raw(&mut self, source: &str, at: usize) -> usize {
        let hashes = source[at + 1..].bytes().take_while(|byte| *byte == b'#').count();
        let start = at + 1 + hashes + 1;
        if source.as_bytes().get(start - 1) != Some(&b'"') {
            return at + 1; // `r#type`: a name
        }
        let close = format!("\"{}", "#".repeat(hashes));
        let length = source[start..].find(&close).unwrap_or(source.len() - start);
        self.literal(source, start, length, close.len())
    }

    /// Blanks a literal's inside and keeps its text; returns where the code goes on.
    fn literal(&mut self, source: &str, start: usize, length: usize, close: usize) -> usize {
        self.literals.push((start, source[start..start + length].to_owned()));
        self.blank(start, start + length) + close
    }

    fn blank(&mut self, from: usize, to: usize) -> usize {
        for byte in &mut self.bytes[from..to] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        to
    }

    /// Blanks out `#[cfg(test)]` items; returns the names of those that are modules in files of their own.
    fn cut_test_items(&mut self) -> Vec<String> {
        const MARK: &[u8] = b"#[cfg(test)]";
        let mut modules = Vec::new();
        while let Some(from) = find(&self.bytes, MARK) {
            let rest = &self.bytes[from..];
            let end = rest.iter().position(|byte| matches!(byte, b'{' | b';')).unwrap_or(rest.len() - 1);
            let head = String::from_utf8_lossy(&rest[MARK.len()..end]).into_owned();
            let to = if rest[end] == b'{' { from + end + braces(&rest[end..]) } else { from + end + 1 };
            if rest[end] == b';'
                && let Some((visible, name)) = head.trim().split_once("mod ")
                && (visible.is_empty() || visible.starts_with("pub"))
            {
                modules.push(name.trim().to_owned());
            }
            self.blank(from, to);
            self.literals.retain(|(at, _)| !(from..to).contains(at));
        }
        modules
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// Length of a string's inside, up to its closing quote.
fn string(rest: &[u8]) -> usize {
    let mut at = 0;
    while at < rest.len() && rest[at] != b'"' {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    at.min(rest.len())
}

/// Length of a block comment; they nest.
fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// Length of a block in braces.
fn braces(rest: &[u8]) -> usize {
    let mut depth = 0;
    for (at, byte) in rest.iter().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(source: &str) -> Code {
        Code::of(PathBuf::from("a/src/plan.rs"), source)
    }

    #[test]
    fn comments_and_literals_are_told_from_code() {
        let code = code(concat!(
            "use x::y; // \"no\" here\n",
            "/* SELECT /* nested */ still */ let a = \"SELECT \\\" {\"; let b = '\"'; let c = '\\'';\n",
            "fn f<'a>(r: &'a str) { g(r#\"raw \"quoted\" text\"#, b\"bytes\") }\n",
        ));
        let texts: Vec<_> = code.literals.iter().map(|(line, text)| (*line, text.as_str())).collect();
        assert_eq!(texts, [(2, "SELECT \\\" {"), (3, "raw \"quoted\" text"), (3, "bytes")]);
        assert!(!code.text.contains("SELECT") && !code.text.contains("no"), "{}", code.text);
        assert!(code.text.contains("fn f<'a>(r: &'a str) { g("), "{}", code.text);
    }

    #[test]
    fn what_is_for_tests_is_cut() {
        let code = code(concat!(
            "let one = \"1\";\n#[cfg(test)]\nmod tests {\n  fn f() { g(\"2\") }\n}\n",
            "#[cfg(test)]\nmod histories;\n#[cfg(test)] pub(crate) mod orders;\nlet three = \"3\"; three.go();\n",
        ));
        assert_eq!(code.literals, [(1, "1".to_owned()), (9, "3".to_owned())]);
        assert_eq!(
            code.modules_for_tests(),
            ["a/src/plan/histories", "a/src/plan/orders"].map(PathBuf::from)
        );
        assert_eq!(code.places("three"), ["a/src/plan.rs:9", "a/src/plan.rs:9"]);
        assert_eq!(code.places("thre"), [""; 0]);
    }
}
