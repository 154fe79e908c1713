//! A writer for the one kind of JSON that the API speaks (lease-api 1): objects in a fixed order,
//! strings, and one integer.

use bytes::Bytes;

/// Writes JSON into one buffer. Commas are put where they belong.
#[derive(Debug)]
pub struct Json {
    out: Vec<u8>,
    comma: bool,
}

impl Json {
    /// An empty buffer.
    #[must_use]
    pub fn new() -> Self {
        Self {
            out: Vec::with_capacity(256),
            comma: false,
        }
    }

    /// Opens an object.
    pub fn begin_object(&mut self) {
        self.separate();
        self.out.push(b'{');
        self.comma = false;
    }

    /// Closes an object.
    pub fn end_object(&mut self) {
        self.out.push(b'}');
        self.comma = true;
    }

    /// Opens a list.
    pub fn begin_list(&mut self) {
        self.separate();
        self.out.push(b'[');
        self.comma = false;
    }

    /// Closes a list.
    pub fn end_list(&mut self) {
        self.out.push(b']');
        self.comma = true;
    }

    /// A member's name; its value must follow.
    pub fn name(&mut self, name: &str) {
        self.separate();
        self.quoted(name);
        self.out.push(b':');
        self.comma = false;
    }

    /// A string value.
    pub fn string(&mut self, value: &str) {
        self.separate();
        self.quoted(value);
        self.comma = true;
    }

    /// An integer value.
    pub fn integer(&mut self, value: u16) {
        self.separate();
        self.out.extend_from_slice(value.to_string().as_bytes());
        self.comma = true;
    }

    /// A member whose value is a string.
    pub fn member(&mut self, name: &str, value: &str) {
        self.name(name);
        self.string(value);
    }

    /// A member whose value is shown as a string.
    pub fn shown(&mut self, name: &str, value: impl std::fmt::Display) {
        self.member(name, &value.to_string());
    }

    /// A line feed between two values of a stream (JSON Lines).
    pub fn line_feed(&mut self) {
        self.out.push(b'\n');
        self.comma = false;
    }

    /// What was written.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        Bytes::from(self.out)
    }

    fn separate(&mut self) {
        if self.comma {
            self.out.push(b',');
        }
    }

    /// RFC 8259 section 7. Bytes that need no escape are copied in runs.
    fn quoted(&mut self, value: &str) {
        self.out.push(b'"');
        let mut run = value;
        while let Some(at) = run
            .bytes()
            .position(|b| b < 0x20 || b == b'"' || b == b'\\')
        {
            let (plain, rest) = run.split_at(at);
            self.out.extend_from_slice(plain.as_bytes());
            let mut chars = rest.chars();
            if let Some(special) = chars.next() {
                self.escaped(special);
            }
            run = chars.as_str();
        }
        self.out.extend_from_slice(run.as_bytes());
        self.out.push(b'"');
    }

    fn escaped(&mut self, special: char) {
        match special {
            '"' => self.out.extend_from_slice(b"\\\""),
            '\\' => self.out.extend_from_slice(b"\\\\"),
            '\n' => self.out.extend_from_slice(b"\\n"),
            '\r' => self.out.extend_from_slice(b"\\r"),
            '\t' => self.out.extend_from_slice(b"\\t"),
            other => {
                self.out
                    .extend_from_slice(format!("\\u{:04x}", u32::from(other)).as_bytes());
            }
        }
    }
}

impl Default for Json {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_string_comes_back(name in ".*", value in any::<String>(), other in "\\PC*") {
            let mut json = Json::new();
            json.begin_object();
            json.name("status");
            json.integer(7);
            json.member(&format!("a{name}"), &value);
            json.name("list");
            json.begin_list();
            json.string(&other);
            json.string(&value);
            json.end_list();
            json.end_object();
            let parsed: serde_json::Value = serde_json::from_slice(&json.into_bytes()).unwrap();
            prop_assert_eq!(&parsed["status"], &serde_json::json!(7));
            prop_assert_eq!(parsed[format!("a{name}")].as_str(), Some(value.as_str()));
            prop_assert_eq!(&parsed["list"], &serde_json::json!([other, value]));
        }
    }
}
