//! What templates see of Python: values, json.dumps, str(float), strftime.
use indexmap::IndexMap;
use minijinja::value::{Enumerator, Kwargs, Object, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};
use std::fmt::Write;
use std::sync::Arc;

/// A dict: keeps the order of its keys, and d.items() is the method although the dict has a key "items" (JSON schemas do).
#[derive(Debug)]
struct Dict(IndexMap<String, Value>);

impl Object for Dict {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        self.0.get(key).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.0.keys().map(|k| Value::from(k.as_str())).collect())
    }

    fn call_method(self: &Arc<Self>, state: &mut State<'_, '_>, name: &str, args: &[Value]) -> Result<Value, Error> {
        method(state, &Value::from_dyn_object(self.clone()), name, args)
    }
}

/// A JSON value as the template sees it; objects keep the order of their keys.
pub fn from_json(json: &serde_json::Value) -> Value {
    use serde_json::Value as J;
    match json {
        J::Null => Value::from(()),
        J::Bool(b) => Value::from(*b),
        J::Number(n) => n
            .as_i64()
            .map(Value::from)
            .or_else(|| n.as_u64().map(Value::from))
            .unwrap_or_else(|| Value::from(n.as_f64().unwrap_or(f64::NAN))),
        J::String(s) => Value::from(s.as_str()),
        J::Array(items) => Value::from(items.iter().map(from_json).collect::<Vec<Value>>()),
        J::Object(map) => Value::from_object(Dict(map.iter().map(|(k, v)| (k.clone(), from_json(v))).collect())),
    }
}

/// repr(float): the shortest digits that read back, with an exponent below 1e-4 and from 1e16 on.
pub fn float_repr(x: f64) -> String {
    if x.is_nan() {
        return "nan".into();
    }
    if x.is_infinite() {
        return if x > 0.0 { "inf" } else { "-inf" }.into();
    }
    let scientific = format!("{x:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if x == 0.0 || (-4..16).contains(&exponent) {
        let plain = format!("{x}");
        return if plain.contains('.') { plain } else { plain + ".0" };
    }
    format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

fn as_float(value: &Value) -> Option<f64> {
    if value.kind() != ValueKind::Number || value.is_integer() {
        return None;
    }
    f64::try_from(value.clone()).ok()
}

/// What {{ value }} prints.
pub fn display(value: &Value) -> String {
    as_float(value).map_or_else(|| value.to_string(), float_repr)
}

struct Dumps {
    ensure_ascii: bool,
    indent: Option<String>,
    item: String,
    key: String,
    sort_keys: bool,
    out: String,
}

impl Dumps {
    fn string(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                c if (c as u32) < 0x20 || (self.ensure_ascii && (c as u32) > 0x7e) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        let _ = write!(self.out, "\\u{unit:04x}");
                    }
                }
                c => self.out.push(c),
            }
        }
        self.out.push('"');
    }

    fn line(&mut self, depth: usize) {
        if let Some(indent) = &self.indent {
            self.out.push('\n');
            for _ in 0..depth {
                self.out.push_str(indent);
            }
        }
    }

    fn scalar(value: &Value) -> Option<String> {
        match value.kind() {
            ValueKind::None => Some("null".into()),
            ValueKind::Bool => Some(if value.is_true() { "true" } else { "false" }.into()),
            ValueKind::Number => Some(match as_float(value) {
                Some(x) if x.is_nan() => "NaN".into(),
                Some(x) if x.is_infinite() => if x > 0.0 { "Infinity" } else { "-Infinity" }.into(),
                Some(x) => float_repr(x),
                None => value.to_string(),
            }),
            _ => None,
        }
    }

    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > 400 {
            return Err(Error::new(ErrorKind::InvalidOperation, "tojson: the value is nested too deeply"));
        }
        if let Some(text) = Self::scalar(value) {
            self.out.push_str(&text);
            return Ok(());
        }
        let (open, close) = match value.kind() {
            ValueKind::String => {
                self.string(value.as_str().unwrap_or_default());
                return Ok(());
            }
            ValueKind::Seq | ValueKind::Iterable => ('[', ']'),
            ValueKind::Map => ('{', '}'),
            other => return Err(Error::new(ErrorKind::InvalidOperation, format!("Object of type {other} is not JSON serializable"))),
        };
        let mut items = value.try_iter()?.collect::<Vec<Value>>();
        if open == '{' && self.sort_keys {
            items.sort();
        }
        self.out.push(open);
        for (i, item) in items.iter().enumerate() {
            if i > 0 {
                self.out.push_str(&self.item.clone());
            }
            self.line(depth + 1);
            if open == '{' {
                let key = item.as_str().map(str::to_string).or_else(|| Self::scalar(item)).unwrap_or_else(|| item.to_string());
                self.string(&key);
                self.out.push_str(&self.key.clone());
                self.value(&value.get_item(item)?, depth + 1)?;
            } else {
                self.value(item, depth + 1)?;
            }
        }
        if !items.is_empty() {
            self.line(depth);
        }
        self.out.push(close);
        Ok(())
    }
}

/// transformers' filter: json.dumps(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False).
pub fn tojson(
    value: &Value,
    ensure_ascii: Option<Value>,
    indent: Option<Value>,
    separators: Option<Value>,
    named: Kwargs,
) -> Result<Value, Error> {
    let pick = |given: Option<Value>, name: &str| -> Result<Option<Value>, Error> {
        let value = if given.is_some() { given } else { named.get::<Option<Value>>(name)? };
        Ok(value.filter(|v| !v.is_none() && !v.is_undefined()))
    };
    let (ensure_ascii, indent) = (pick(ensure_ascii, "ensure_ascii")?, pick(indent, "indent")?);
    let (separators, sort_keys) = (pick(separators, "separators")?, pick(None, "sort_keys")?);
    named.assert_all_used()?;
    let indent = match indent {
        None => None,
        Some(text) if text.as_str().is_some() => text.as_str().map(str::to_string),
        Some(number) => Some(" ".repeat(i64::try_from(number)?.clamp(0, 1000) as usize)),
    };
    let mut dumps = Dumps {
        ensure_ascii: ensure_ascii.is_some_and(|v| v.is_true()),
        item: if indent.is_some() { "," } else { ", " }.into(),
        key: ": ".into(),
        indent,
        sort_keys: sort_keys.is_some_and(|v| v.is_true()),
        out: String::new(),
    };
    if let Some(pair) = separators {
        dumps.item = pair.get_item_by_index(0)?.to_string();
        dumps.key = pair.get_item_by_index(1)?.to_string();
    }
    dumps.value(value, 0)?;
    Ok(Value::from(dumps.out))
}

/// str.strip's blanks: what Unicode calls white space, and the four information separators.
pub fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

fn strings(parts: &[&str]) -> Value {
    Value::from(parts.iter().map(|s| Value::from(*s)).collect::<Vec<Value>>())
}

/// Methods where pycompat lacks the method or strips other blanks than Python does; the rest goes to pycompat.
pub fn method(state: &mut State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        let texts: Option<Vec<&str>> = args.iter().map(|a| a.as_str()).collect();
        match (name, texts.as_deref()) {
            ("strip", Some([])) => return Ok(Value::from(text.trim_matches(is_space))),
            ("lstrip", Some([])) => return Ok(Value::from(text.trim_start_matches(is_space))),
            ("rstrip", Some([])) => return Ok(Value::from(text.trim_end_matches(is_space))),
            ("removeprefix", Some([prefix])) => return Ok(Value::from(text.strip_prefix(prefix).unwrap_or(text))),
            ("removesuffix", Some([suffix])) => return Ok(Value::from(text.strip_suffix(suffix).unwrap_or(text))),
            ("partition", Some([mark])) if !mark.is_empty() => {
                let parts = text.split_once(mark).map_or([text, "", ""], |(a, c)| [a, mark, c]);
                return Ok(strings(&parts));
            }
            ("rpartition", Some([mark])) if !mark.is_empty() => {
                let parts = text.rsplit_once(mark).map_or(["", "", text], |(a, c)| [a, mark, c]);
                return Ok(strings(&parts));
            }
            ("rsplit", _) if !args.is_empty() && args[0].as_str().is_some_and(|s| !s.is_empty()) => {
                let mark = args[0].as_str().unwrap_or_default();
                let limit = args.get(1).and_then(|n| n.as_i64()).filter(|n| *n >= 0);
                let mut parts: Vec<&str> = match limit {
                    Some(n) => text.rsplitn(n as usize + 1, mark).collect(),
                    None => text.rsplit(mark).collect(),
                };
                parts.reverse();
                return Ok(strings(&parts));
            }
            _ => {}
        }
    }
    minijinja_contrib::pycompat::unknown_method_callback(state, value, name, args)
}

/// datetime.strptime(now).strftime(format) with the C library's own conversions.
pub fn strftime(format: &str, now: &str) -> Result<String, String> {
    let bad = || format!("'{now}' is not a time, expected YYYY-MM-DD HH:MM:SS");
    let numbers: Vec<i32> = now
        .split(['-', ' ', 'T', ':'])
        .map(|part| part.split('.').next().unwrap_or("").parse::<i32>())
        .collect::<Result<_, _>>()
        .map_err(|_| bad())?;
    let [year, month, day, hour, minute, second] = numbers[..] else { return Err(bad()) };
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || !(0..24).contains(&hour) || !(0..60).contains(&minute) || !(0..=60).contains(&second) {
        return Err(bad());
    }
    // SAFETY: an all-zero tm is valid; timegm fills in the day of the week and of the year; strftime writes at most `size` bytes.
    unsafe {
        let mut tm: libc::tm = std::mem::zeroed();
        (tm.tm_year, tm.tm_mon, tm.tm_mday) = (year - 1900, month - 1, day);
        (tm.tm_hour, tm.tm_min, tm.tm_sec) = (hour, minute, second);
        libc::timegm(&mut tm);
        tm.tm_isdst = -1;
        // A naive datetime has neither zone nor microseconds here. The mark at the end tells an empty result from one that does not fit.
        let format = format.replace("%f", "000000").replace("%Z", "").replace("%z", "") + ".";
        let pattern = std::ffi::CString::new(format).map_err(|_| "strftime_now: the format holds a zero byte".to_string())?;
        let mut buffer = vec![0u8; 4096];
        let size = libc::strftime(buffer.as_mut_ptr() as *mut libc::c_char, buffer.len(), pattern.as_ptr(), &tm);
        if size == 0 {
            return Err("strftime_now: the result is too long".into());
        }
        buffer.truncate(size - 1);
        String::from_utf8(buffer).map_err(|_| "strftime_now: the result is not UTF-8".into())
    }
}
