//! The linter inside an editor: the real program, spoken to as an editor does.

mod support;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use serde_json::{Value, json};
use support::sandbox::Sandbox;

/// A program and what an editor needs to speak to it.
struct Editor {
    sandbox: Sandbox,
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    id: i64,
}

impl Editor {
    /// A started program that has said nothing yet.
    fn new(sandbox: Sandbox) -> Self {
        let mut child = Sandbox::spawn(sandbox.command(["lsp"]).stdin(Stdio::piped()));
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("its output is a pipe"));
        Self {
            sandbox,
            child,
            input,
            output,
            id: 0,
        }
    }

    /// One that is ready.
    fn start(sandbox: Sandbox) -> Self {
        let mut editor = Self::new(sandbox);
        let answer = editor.ask("initialize", &json!({ "capabilities": {} }));
        assert_eq!(
            answer["result"]["capabilities"]["positionEncoding"],
            "utf-16"
        );
        editor.tell("initialized", &json!({}));
        editor
    }

    fn write(&mut self, body: &str) {
        let input = self.input.as_mut().expect("the program is spoken to");
        write!(input, "Content-Length: {}\r\n\r\n{body}", body.len()).expect("it listens");
    }

    fn tell(&mut self, method: &str, params: &Value) {
        self.write(&json!({ "jsonrpc": "2.0", "method": method, "params": params }).to_string());
    }

    fn ask(&mut self, method: &str, params: &Value) -> Value {
        self.id += 1;
        let message =
            json!({ "jsonrpc": "2.0", "id": self.id, "method": method, "params": params });
        self.write(&message.to_string());
        let id = json!(self.id);
        self.until(|message| message["id"] == id)
    }

    fn read(&mut self) -> Value {
        let mut length = 0;
        loop {
            let mut line = String::new();
            let read = self.output.read_line(&mut line).expect("it can be read");
            assert!(read > 0, "the program has ended");
            match line.trim().split_once(": ") {
                Some(("Content-Length", number)) => length = number.parse().expect("a number"),
                Some(_) => {}
                None => break,
            }
        }
        let mut body = vec![0; length];
        self.output.read_exact(&mut body).expect("all of it comes");
        serde_json::from_slice(&body).expect("it is JSON")
    }

    fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let message = self.read();
            if wanted(&message) {
                return message;
            }
        }
    }

    /// What is next said of a document.
    fn published(&mut self) -> Value {
        let method = "textDocument/publishDiagnostics";
        self.until(|message| message["method"] == method)["params"].clone()
    }

    fn uri(&self, name: &str) -> String {
        format!("file://{}/{name}", self.sandbox.source().display())
    }

    fn open(&mut self, name: &str, text: &str) -> Value {
        let uri = self.uri(name);
        let document = json!({ "uri": uri, "languageId": "yaml", "version": 1, "text": text });
        self.tell("textDocument/didOpen", &json!({ "textDocument": document }));
        self.published()
    }

    fn change(&mut self, name: &str, version: i64, text: &str) {
        let document = json!({ "uri": self.uri(name), "version": version });
        let params = json!({ "textDocument": document, "contentChanges": [{ "text": text }] });
        self.tell("textDocument/didChange", &params);
    }

    fn ask_at(&mut self, method: &str, name: &str, line: u32, character: u32) -> Value {
        let position = json!({ "line": line, "character": character });
        let params = json!({ "textDocument": { "uri": self.uri(name) }, "position": position });
        self.ask(method, &params)["result"].clone()
    }

    fn code(&mut self) -> Option<i32> {
        self.child.wait().expect("it ends").code()
    }
}

impl Drop for Editor {
    fn drop(&mut self) {
        // A test that failed leaves nothing running.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn codes(published: &Value) -> Vec<&str> {
    let all = published["diagnostics"].as_array().expect("a list");
    all.iter()
        .map(|one| one["code"].as_str().expect("a code"))
        .collect()
}

const NAME: &str = "buildspec.yml";
const WRONG: &str =
    "version: 0.2\nphases:\n  build:\n    \"𝄞\": 1\n    commands:\n      - make | tee log\n";
const RIGHT: &str = "version: 0.2\nphases:\n  build:\n    commands:\n      - make\n";

// LINT-63, LINT-64
#[test]
fn findings_come_with_the_text_and_go_with_it() {
    let mut editor = Editor::start(Sandbox::new());
    let published = editor.open(NAME, WRONG);
    assert_eq!(published["version"], 1);
    assert_eq!(codes(&published), ["unknown-key", "pipe-hides-failure"]);
    let first = &published["diagnostics"][0];
    assert_eq!(first["severity"], 2);
    assert_eq!(first["source"], "runner");
    // Two units of UTF-16, and two quotes.
    let range =
        json!({ "start": { "line": 3, "character": 4 }, "end": { "line": 3, "character": 8 } });
    assert_eq!(first["range"], range);
    let related = &published["diagnostics"][1]["relatedInformation"][0];
    assert_eq!(related["location"]["uri"], json!(editor.uri(NAME)));
    editor.change(NAME, 2, RIGHT);
    let published = editor.published();
    assert_eq!(
        (&published["version"], codes(&published).len()),
        (&json!(2), 0)
    );
    editor.change(NAME, 3, WRONG);
    assert_eq!(codes(&editor.published()).len(), 2);
    let about = json!({ "textDocument": { "uri": editor.uri(NAME) } });
    editor.tell("textDocument/didSave", &about);
    assert_eq!(codes(&editor.published()).len(), 2);
    editor.tell("textDocument/didClose", &about);
    let published = editor.published();
    assert_eq!(codes(&published), [""; 0]);
    // What is closed has no version, and the protocol knows no null for it.
    assert_eq!(published.get("version"), None);
}

// LINT-63
#[test]
fn a_text_that_has_changed_again_is_not_checked() {
    let mut editor = Editor::start(Sandbox::new());
    editor.open(NAME, RIGHT);
    // All at once, as one who types fast; each is large enough that checking every one would show.
    let mut burst = String::new();
    for version in 2..200 {
        let text = format!("{WRONG}# {version}\n");
        let document = json!({ "uri": editor.uri(NAME), "version": version });
        let params = json!({ "textDocument": document, "contentChanges": [{ "text": text }] });
        let message =
            json!({ "jsonrpc": "2.0", "method": "textDocument/didChange", "params": params });
        let body = message.to_string();
        burst.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    }
    let input = editor.input.as_mut().expect("the program is spoken to");
    input.write_all(burst.as_bytes()).expect("it listens");
    let mut versions = Vec::new();
    while versions.last() != Some(&json!(199)) {
        versions.push(editor.published()["version"].clone());
    }
    let numbers: Vec<i64> = versions.iter().filter_map(Value::as_i64).collect();
    assert!(numbers.is_sorted() && numbers.len() < 198, "{numbers:?}");
    // An older text that comes late changes nothing.
    editor.change(NAME, 5, RIGHT);
    editor.tell(
        "textDocument/didSave",
        &json!({ "textDocument": { "uri": editor.uri(NAME) } }),
    );
    let published = editor.published();
    assert_eq!(
        (&published["version"], codes(&published).len()),
        (&json!(199), 2)
    );
}

// LINT-65
#[test]
fn a_finding_can_be_ignored_where_it_is() {
    let mut editor = Editor::start(Sandbox::new());
    let published = editor.open(NAME, WRONG);
    let range = published["diagnostics"][1]["range"].clone();
    let params = json!({
        "textDocument": { "uri": editor.uri(NAME) },
        "range": range,
        "context": { "diagnostics": [] },
    });
    let actions = editor.ask("textDocument/codeAction", &params)["result"].clone();
    let titles: Vec<&str> = actions
        .as_array()
        .expect("a list")
        .iter()
        .map(|action| action["title"].as_str().expect("text"))
        .collect();
    let here = "ignore this `pipe-hides-failure` here";
    assert_eq!(titles, [here, "ignore `pipe-hides-failure` in this file"]);
    assert_eq!(actions[0]["diagnostics"][0], published["diagnostics"][1]);
    let edit = &actions[0]["edit"]["changes"][editor.uri(NAME)][0];
    let place = json!({ "line": 5, "character": 0 });
    assert_eq!(edit["range"], json!({ "start": place, "end": place }));
    let comment = edit["newText"].as_str().expect("text").to_owned();
    editor.change(
        NAME,
        2,
        &WRONG.replace("      - make", &format!("{comment}      - make")),
    );
    assert_eq!(codes(&editor.published()), ["unknown-key"]);
}

// LINT-66
#[test]
fn keys_are_explained_and_completed() {
    let mut editor = Editor::start(Sandbox::new());
    editor.open(NAME, "version: 0.2\nphases:\n  build:\n    on-failure: \n");
    let hover = editor.ask_at("textDocument/hover", NAME, 3, 6);
    let text = hover["contents"]["value"]
        .as_str()
        .expect("it is explained");
    assert!(
        text.starts_with("**`on-failure`** — since version 0.2\n\n"),
        "{text}"
    );
    let values = editor.ask_at("textDocument/completion", NAME, 3, 16);
    let labels: Vec<&Value> = values["items"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|item| &item["label"])
        .collect();
    assert_eq!(labels, ["ABORT", "CONTINUE", "RETRY"]);
    let keys = editor.ask_at("textDocument/completion", NAME, 2, 2);
    assert_eq!(keys["items"][0]["label"], "install");
    assert_eq!(
        editor.ask_at("textDocument/hover", "none.yml", 0, 0),
        Value::Null
    );
}

// LINT-67
#[test]
fn the_project_decides_and_is_told_when_it_is_wrong() {
    let off = "[validate]\nexclude = ['vendor/']\n[validate.rules]\nunknown-key = 'off'\n";
    let sandbox = Sandbox::new()
        .file("runner.toml", off)
        .file("vendor/a", "")
        .file("bad/runner.toml", "[validat]\n");
    let mut editor = Editor::start(sandbox);
    assert_eq!(codes(&editor.open(NAME, WRONG)), ["pipe-hides-failure"]);
    assert_eq!(codes(&editor.open("vendor/buildspec.yml", WRONG)), [""; 0]);
    let uri = editor.uri("bad/buildspec.yml");
    let document = json!({ "uri": uri, "languageId": "yaml", "version": 1, "text": WRONG });
    editor.tell("textDocument/didOpen", &json!({ "textDocument": document }));
    let told = editor.until(|message| message["method"] == "window/showMessage");
    let message = told["params"]["message"].as_str().expect("text");
    assert_eq!(message, "bad/runner.toml:1:2: unexpected key `validat`");
    assert_eq!(codes(&editor.published()).len(), 2);
}

// LINT-63
#[test]
fn what_is_no_buildspec_is_left_alone() {
    let mut editor = Editor::start(Sandbox::new());
    for uri in [
        editor.uri("docker-compose.yml"),
        "untitled:buildspec.yml".to_owned(),
    ] {
        let document = json!({ "uri": uri, "languageId": "yaml", "version": 1, "text": WRONG });
        editor.tell("textDocument/didOpen", &json!({ "textDocument": document }));
    }
    // What is next published is about the next document.
    let published = editor.open(NAME, WRONG);
    assert_eq!(published["uri"], json!(editor.uri(NAME)));
}

// LINT-67
#[test]
fn nonsense_is_answered_and_survived() {
    let mut editor = Editor::new(Sandbox::new());
    let code = |answer: &Value| answer["error"]["code"].clone();
    let early = editor.ask("textDocument/hover", &json!({}));
    assert_eq!(code(&early), -32002);
    editor.ask("initialize", &json!({}));
    let table = [
        ("textDocument/hover", json!({ "textDocument": 7 }), -32602),
        ("textDocument/codeAction", json!(null), -32602),
        ("textDocument/rename", json!({}), -32601),
        ("initialize", json!({}), -32601),
    ];
    for (method, params, expected) in table {
        assert_eq!(code(&editor.ask(method, &params)), expected, "{method}");
    }
    for (body, expected) in [
        ("{", -32700),
        ("[]", -32600),
        ("7", -32600),
        ("{\"id\": 1}", -32600),
    ] {
        editor.write(body);
        assert_eq!(code(&editor.read()), expected, "{body}");
    }
    editor.write("{");
    let why = editor.read()["error"]["message"].clone();
    assert_eq!(why, "this is no message: it is not JSON");
    // What needs no answer gets none, whatever is wrong with it.
    editor.tell("textDocument/didOpen", &json!([]));
    editor.tell(
        "textDocument/didChange",
        &json!({ "textDocument": { "uri": "x", "version": 1 }, "contentChanges": [] }),
    );
    editor.tell("$/unheard-of", &json!(1));
    editor.write("{\"id\": 1, \"result\": null}");
    let far = json!({ "line": 4_000_000_000_u32, "character": 4_000_000_000_u32 });
    editor.open(NAME, "a: [b");
    for method in ["textDocument/hover", "textDocument/completion"] {
        let params = json!({ "textDocument": { "uri": editor.uri(NAME) }, "position": far });
        assert!(
            editor.ask(method, &params).get("error").is_none(),
            "{method}"
        );
    }
    assert_eq!(editor.ask("shutdown", &json!(null))["result"], Value::Null);
    assert_eq!(code(&editor.ask("textDocument/hover", &json!({}))), -32600);
    editor.tell("exit", &json!(null));
    assert_eq!(editor.code(), Some(0));
}

// LINT-67
#[test]
fn it_ends_with_its_editor() {
    let mut editor = Editor::start(Sandbox::new());
    editor.input = None;
    assert_eq!(editor.code(), Some(1));
    let mut editor = Editor::start(Sandbox::new());
    editor.tell("exit", &json!(null));
    assert_eq!(editor.code(), Some(1));
}
