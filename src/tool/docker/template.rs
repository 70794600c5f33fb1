//! `--format`: what builds use of Go's templates on answers that are JSON.

use serde_json::Value;

/// A template, read.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Text(String),
    /// The stages of a pipe.
    Action(Vec<Vec<Term>>),
}

/// One word of an action.
#[derive(Clone, Debug, PartialEq)]
enum Term {
    /// `.A.B`; no names for `.` itself.
    Field(Vec<String>),
    Text(String),
    Number(i64),
    Function(String),
    Group(Vec<Vec<Term>>),
}

/// What can be called.
const FUNCTIONS: [&str; 8] = [
    "json", "index", "join", "len", "upper", "lower", "println", "title",
];

impl Template {
    /// Reads a template; what it cannot do is said.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text == "json" {
            return Self::parse("{{json .}}");
        }
        let problem = |what: &str| {
            format!(
                "`--format {text}`: {what}; only fields such as `{{{{.Config.Env}}}}` and {} are supported",
                FUNCTIONS.join(", ")
            )
        };
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once("{{") {
            parts.push(Part::Text(unescape(before)));
            let (action, after) = behind
                .split_once("}}")
                .ok_or_else(|| problem("`}}` is missing"))?;
            let tokens = tokens(action).ok_or_else(|| problem("a quote is not closed"))?;
            let mut tokens = tokens.as_slice();
            let pipe = pipe(&mut tokens).map_err(|what| problem(&what))?;
            if !tokens.is_empty() {
                return Err(problem("a `)` is too many"));
            }
            parts.push(Part::Action(pipe));
            rest = after;
        }
        parts.push(Part::Text(unescape(rest)));
        Ok(Self { parts })
    }

    /// The text for a value.
    pub(super) fn fill(&self, value: &Value) -> Result<String, String> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(plain) => text.push_str(plain),
                Part::Action(pipe) => text.push_str(&show(&run(pipe, value)?)),
            }
        }
        Ok(text)
    }
}

/// `\n` and `\t`, as people write them between quotes of the shell.
fn unescape(text: &str) -> String {
    text.replace("\\t", "\t").replace("\\n", "\n")
}

/// Words, quoted texts with their quote in front, parentheses and bars.
fn tokens(action: &str) -> Option<Vec<String>> {
    let action = action.strip_prefix("- ").unwrap_or(action);
    let action = action.strip_suffix(" -").unwrap_or(action);
    let mut tokens = Vec::new();
    let mut rest = action.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '(' | ')' | '|' => 1,
            '"' | '`' => rest[1..].find(first)? + 1,
            _ => rest
                .find(|sign: char| sign.is_whitespace() || "()|".contains(sign))
                .unwrap_or(rest.len()),
        };
        tokens.push(rest[..length].to_owned());
        let closed = usize::from(first == '"' || first == '`');
        rest = rest[length + closed..].trim_start();
    }
    Some(tokens)
}

fn pipe(tokens: &mut &[String]) -> Result<Vec<Vec<Term>>, String> {
    let mut stages = vec![Vec::new()];
    while let Some((token, rest)) = tokens.split_first() {
        if token == ")" {
            break;
        }
        *tokens = rest;
        let term = match token.as_str() {
            "|" => {
                stages.push(Vec::new());
                continue;
            }
            "(" => {
                let inner = pipe(tokens)?;
                match tokens.split_first() {
                    Some((_, rest)) => *tokens = rest,
                    None => return Err("`)` is missing".to_owned()),
                }
                Term::Group(inner)
            }
            word => term(word)?,
        };
        if let Some(stage) = stages.last_mut() {
            stage.push(term);
        }
    }
    if stages.iter().any(Vec::is_empty) {
        return Err("there is nothing between two signs".to_owned());
    }
    Ok(stages)
}

fn term(word: &str) -> Result<Term, String> {
    if let Some(text) = word.strip_prefix(['"', '`']) {
        return Ok(Term::Text(unescape(text)));
    }
    if let Some(path) = word.strip_prefix('.') {
        let names = path.split('.').filter(|name| !name.is_empty());
        return Ok(Term::Field(names.map(str::to_owned).collect()));
    }
    if let Ok(number) = word.parse() {
        return Ok(Term::Number(number));
    }
    if FUNCTIONS.contains(&word) {
        return Ok(Term::Function(word.to_owned()));
    }
    Err(format!("`{word}` is not supported"))
}

fn run(pipe: &[Vec<Term>], value: &Value) -> Result<Value, String> {
    let mut last: Option<Value> = None;
    for stage in pipe {
        let (head, arguments) = stage.split_first().ok_or("an empty action")?;
        let mut values = Vec::new();
        for argument in arguments {
            values.push(evaluate(argument, value)?);
        }
        values.extend(last.take());
        last = Some(match head {
            Term::Function(name) => call(name, &values)?,
            other if values.is_empty() => evaluate(other, value)?,
            _ => return Err("arguments need a function in front of them".to_owned()),
        });
    }
    last.ok_or_else(|| "an empty action".to_owned())
}

fn evaluate(term: &Term, value: &Value) -> Result<Value, String> {
    match term {
        Term::Text(text) => Ok(Value::from(text.as_str())),
        Term::Number(number) => Ok(Value::from(*number)),
        Term::Group(pipe) => run(pipe, value),
        Term::Function(name) => call(name, &[]),
        Term::Field(names) => names
            .iter()
            .try_fold(value.clone(), |value, name| match &value {
                Value::Object(fields) => match field(fields, name) {
                    Some(found) => Ok(found.clone()),
                    None => Err(format!("there is no field `.{}`", names.join("."))),
                },
                Value::Null => Ok(Value::Null),
                _ => Err(format!("`.{}` has no fields", names.join("."))),
            }),
    }
}

/// A field by its name. The engine leaves out what is empty; `Id` and `ID` are one.
fn field<'v>(fields: &'v serde_json::Map<String, Value>, name: &str) -> Option<&'v Value> {
    let other = || {
        fields
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    };
    fields.get(name).or_else(other)
}

fn call(name: &str, values: &[Value]) -> Result<Value, String> {
    match (name, values) {
        ("json", [value]) => Ok(Value::from(value.to_string())),
        ("println", values) => Ok(Value::from(format!(
            "{}\n",
            values.iter().map(show).collect::<Vec<String>>().join(" ")
        ))),
        ("len", [value]) => Ok(Value::from(match value {
            Value::Array(items) => items.len(),
            Value::Object(fields) => fields.len(),
            Value::String(text) => text.len(),
            _ => 0,
        })),
        ("upper", [Value::String(text)]) => Ok(Value::from(text.to_uppercase())),
        ("lower", [Value::String(text)]) => Ok(Value::from(text.to_lowercase())),
        ("title", [Value::String(text)]) => {
            let mut signs = text.chars();
            let first = signs
                .next()
                .map(|first| first.to_uppercase().to_string())
                .unwrap_or_default();
            Ok(Value::from(first + signs.as_str()))
        }
        ("join", [Value::Array(items), Value::String(between)]) => Ok(Value::from(
            items
                .iter()
                .map(show)
                .collect::<Vec<String>>()
                .join(between),
        )),
        ("index", [value, keys @ ..]) => keys
            .iter()
            .try_fold(value.clone(), |value, key| index(&value, key)),
        _ => Err(format!("`{name}` cannot be used on these values")),
    }
}

fn index(value: &Value, key: &Value) -> Result<Value, String> {
    match (value, key) {
        (Value::Array(items), Value::Number(number)) => {
            let item = number
                .as_u64()
                .and_then(|number| items.get(usize::try_from(number).ok()?));
            item.cloned()
                .ok_or_else(|| format!("index out of range: {number}"))
        }
        // Go gives the empty text for a key that is not there.
        (Value::Object(fields), Value::String(key)) => {
            Ok(fields.get(key).cloned().unwrap_or_else(|| Value::from("")))
        }
        (Value::Null, Value::Number(number)) => Err(format!("index out of range: {number}")),
        (Value::Null, Value::String(_)) => Ok(Value::from("")),
        _ => Err("`index` cannot be used on these values".to_owned()),
    }
}

/// A value as Go prints it.
fn show(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!(
            "[{}]",
            items.iter().map(show).collect::<Vec<String>>().join(" ")
        ),
        Value::Object(fields) => {
            let mut pairs: Vec<String> = fields
                .iter()
                .map(|(name, value)| format!("{name}:{}", show(value)))
                .collect();
            pairs.sort();
            format!("map[{}]", pairs.join(" "))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // TOOL-11
    #[test]
    fn templates_of_builds_are_filled_in() {
        let value = serde_json::json!({
            "Id": "sha256:1", "Architecture": "amd64", "RepoDigests": ["a@sha256:2", "b@sha256:3"], "Size": 5,
            "Config": {"Env": ["A=1", "B=2"], "Labels": {"x.y": "z", "a": "b"}, "Cmd": null}
        });
        let table = [
            ("{{.Architecture}}", "amd64"),
            ("{{ .ID }}/{{.Size}}", "sha256:1/5"),
            ("{{index .RepoDigests 0}}", "a@sha256:2"),
            ("{{(index .RepoDigests 1)}}\\n", "b@sha256:3\n"),
            ("{{json .Config.Env}}", "[\"A=1\",\"B=2\"]"),
            ("{{.Config.Env | json}}", "[\"A=1\",\"B=2\"]"),
            (
                "{{index .Config.Labels \"x.y\"}}|{{index .Config.Labels \"none\"}}",
                "z|",
            ),
            (
                "{{.Config.Env}} {{.Config.Labels}} {{.Config.Cmd}}",
                "[A=1 B=2] map[a:b x.y:z] <nil>",
            ),
            (
                "{{join .Config.Env \",\"}} {{len .RepoDigests}} {{upper .Architecture}}",
                "A=1,B=2 2 AMD64",
            ),
            ("plain", "plain"),
        ];
        for (template, text) in table {
            let parsed =
                Template::parse(template).unwrap_or_else(|error| panic!("{template}: {error}"));
            assert_eq!(parsed.fill(&value).as_deref(), Ok(text), "{template}");
        }
        let fails = [
            "{{.None}}",
            "{{.Size.x}}",
            "{{index .RepoDigests 7}}",
            "{{.Id .Size}}",
            "{{upper .Size}}",
        ];
        for template in fails {
            let parsed =
                Template::parse(template).unwrap_or_else(|error| panic!("{template}: {error}"));
            assert!(parsed.fill(&value).is_err(), "{template}");
        }
    }

    // TOOL-11
    #[test]
    fn templates_that_are_not_supported_are_said() {
        for template in [
            "{{range .A}}x{{end}}",
            "{{if .A}}",
            "{{.A",
            "{{}}",
            "{{.A |}}",
            "{{(.A}}",
            "{{.A)}}",
            "{{\"x}}",
        ] {
            assert!(Template::parse(template).is_err(), "{template}");
        }
    }
}
