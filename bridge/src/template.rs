//! Chat templates in the environment of transformers (`_compile_jinja_template`, `render_jinja_template` in utils/chat_template_utils.py), run by minijinja.
use crate::abi::{deliver, guarded, input, AssayText, Outcome};
use crate::python;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Rest, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Value};
use std::os::raw::{c_char, c_int};
use std::sync::{Arc, Mutex};

/// Instructions that one rendering may take; a chat of 10,000 messages takes about a million.
const FUEL: u64 = 10_000_000;

/// The characters that stand around what is inside {% generation %}: a pair of Unicode's noncharacters that appear neither in the template nor in its input.
fn marks(source: &str, context: &str) -> Outcome<(char, char)> {
    let free = |c: &char| !source.contains(*c) && !context.contains(*c);
    let mut candidates = ('\u{fdd0}'..='\u{fdef}').filter(free);
    match (candidates.next(), candidates.next()) {
        (Some(a), Some(b)) => Ok((a, b)),
        _ => Err("the messages hold all of Unicode's noncharacters".into()),
    }
}

/// Jinja's line endings, and transformers' generation tag in terms of a filter (its own scope, as the call block in transformers has).
fn prepare(source: &str) -> String {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut out = String::with_capacity(source.len());
    let mut rest = source.as_str();
    while let Some(start) = rest.find("{%") {
        let (before, tag) = rest.split_at(start);
        out.push_str(before);
        let inner = &tag[2..];
        let left = inner.starts_with(['-', '+']) as usize;
        let word = inner[left..].trim_start();
        let name = if word.starts_with("endgeneration") { "endgeneration" } else { "generation" };
        let tail = word.strip_prefix(name).map(str::trim_start).unwrap_or("");
        let right = tail.starts_with(['-', '+']) as usize;
        if tail[right..].starts_with("%}") {
            let (l, r) = (&inner[..left], &tail[..right]);
            if name == "generation" {
                out.push_str(&format!("{{%{l} filter __generation {}%}}{{% with {r}%}}", "-"));
            } else {
                out.push_str(&format!("{{%{l} endwith {}%}}{{% endfilter {r}%}}", "-"));
            }
            rest = &tail[right + 2..];
        } else {
            out.push_str("{%");
            rest = inner;
        }
    }
    out + rest
}

/// Takes the marks out of the text; the ranges between them, in code points.
fn take_spans(text: &str, (open, close): (char, char)) -> (String, Vec<(usize, usize)>) {
    let (mut clean, mut spans, mut stack, mut position) = (String::with_capacity(text.len()), Vec::new(), Vec::new(), 0);
    for c in text.chars() {
        if c == open {
            stack.push(position);
        } else if c == close {
            spans.extend(stack.pop().map(|begin| (begin, position)));
        } else {
            clean.push(c);
            position += 1;
        }
    }
    (clean, spans)
}

/// Jinja's {{ value }} and str(): an iterator of pairs, say, prints as a list.
fn text(value: &Value) -> String {
    python::display(value)
}

fn is_sequence(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::String)
}

fn is_iterable(value: &Value) -> bool {
    is_sequence(value) || matches!(value.kind(), ValueKind::Iterable | ValueKind::Undefined)
}

type Raised = Arc<Mutex<Option<String>>>;

fn environment(now: String, marks: (char, char), raised: Raised) -> Outcome<Environment<'static>> {
    let mut env = Environment::new();
    let mut syntax = SyntaxConfig::builder();
    syntax.trim_blocks(true).lstrip_blocks(true);
    env.set_syntax(syntax.build().map_err(|e| e.to_string())?);
    env.set_fuel(Some(FUEL));
    env.set_recursion_limit(200);
    env.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    env.set_unknown_method_callback(python::method);
    env.set_formatter(|out, _, value| out.write_str(&text(value)).map_err(Error::from));
    env.add_filter("tojson", python::tojson);
    env.add_filter("string", |value: &Value| text(value));
    env.add_filter("trim", |value: &Value, chars: Option<String>| match chars {
        Some(chars) => text(value).trim_matches(|c| chars.contains(c)).to_string(),
        None => text(value).trim_matches(python::is_space).to_string(),
    });
    env.add_filter("__generation", move |body: String| format!("{}{body}{}", marks.0, marks.1));
    env.add_test("sequence", is_sequence);
    env.add_test("iterable", is_iterable);
    env.add_test("number", |v: &Value| matches!(v.kind(), ValueKind::Number | ValueKind::Bool));
    env.add_test("callable", |v: &Value| matches!(v.kind(), ValueKind::Plain));
    env.add_function("raise_exception", move |message: Rest<Value>| -> Result<Value, Error> {
        let message = message.0.first().map(text).unwrap_or_default();
        if let Ok(mut slot) = raised.lock() {
            *slot = Some(message.clone());
        }
        Err(Error::new(ErrorKind::InvalidOperation, message))
    });
    env.add_function("strftime_now", move |format: String| {
        python::strftime(&format, &now).map_err(|e| Error::new(ErrorKind::InvalidOperation, e))
    });
    Ok(env)
}

/// An error with its causes, and the line of the template.
fn describe(error: &Error) -> String {
    let mut message = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        message = format!("{message}: {inner}");
        cause = inner.source();
    }
    message
}

fn render(source: &str, context: &str, now: &str) -> Outcome<String> {
    let json: serde_json::Value = serde_json::from_str(context).map_err(|e| format!("the template's variables: {e}"))?;
    let marks = marks(source, &json.to_string())?;
    let raised = Raised::default();
    let env = environment(now.to_string(), marks, raised.clone())?;
    let prepared = prepare(source);
    let template = env.template_from_str(&prepared).map_err(|e| describe(&e))?;
    let result = template.render(python::from_json(&json));
    let rendered = result.map_err(|e| raised.lock().ok().and_then(|mut m| m.take()).unwrap_or_else(|| describe(&e)))?;
    let (text, spans) = take_spans(&rendered, marks);
    Ok(serde_json::json!({"text": text, "spans": spans}).to_string())
}

/// # Safety
/// As the header says.
#[no_mangle]
pub unsafe extern "C" fn assay_template_render(
    source: *const c_char,
    source_size: usize,
    context: *const c_char,
    context_size: usize,
    now: *const c_char,
    now_size: usize,
    out: *mut AssayText,
    error: *mut AssayText,
) -> c_int {
    let outcome = guarded(|| {
        let source = input("the template", source, source_size)?;
        let context = input("the template's variables", context, context_size)?;
        render(source, context, input("the time", now, now_size)?).map(AssayText::from)
    });
    deliver(out, error, outcome)
}
