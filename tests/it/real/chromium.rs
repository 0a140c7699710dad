//! A headless Chromium, driven over the pipe of its DevTools protocol.
//!
//! It reads commands from descriptor 3 and writes to descriptor 4, each message ended by a NUL. A
//! shell puts our pipes there.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::installed;
use crate::harness::process::Owned;
use crate::harness::wait::{PATIENCE, until};

/// A browser that starts cold on a busy machine takes its time.
const START: Duration = Duration::from_secs(60);

const FLAGS: &str = "--headless=new --no-sandbox --disable-gpu --no-first-run --disable-extensions \
                     --disable-background-networking --disable-component-update --disable-sync \
                     --disable-dev-shm-usage --hide-scrollbars --remote-debugging-pipe";

/// One page in a browser of its own; both end with the test.
pub(crate) struct Browser {
    // Before the process: its end is what the process ends at, by itself and with all its children.
    commands: RefCell<Option<ChildStdin>>,
    messages: Receiver<Value>,
    /// Messages that were no answers, oldest first.
    events: RefCell<VecDeque<Value>>,
    state: RefCell<(u64, Option<String>)>,
    child: RefCell<Owned>,
    _home: TempDir,
}

impl Browser {
    /// Starts it with an empty page; `None` where it is not installed.
    #[track_caller]
    pub(crate) fn start() -> Option<Self> {
        let program = installed("chromium", &[])?;
        let home = TempDir::new().unwrap();
        let shell = format!(
            "exec {} {FLAGS} --user-data-dir={} about:blank 3<&0 4>&1 0</dev/null 1>/dev/null",
            program.display(),
            home.path().display()
        );
        let mut command = Command::new("sh");
        command.args(["-c", &shell]).env("HOME", home.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = Owned(command.spawn().unwrap());
        let commands = child.0.stdin.take().unwrap();
        let mut answers = BufReader::new(child.0.stdout.take().unwrap());
        let (heard, messages) = channel();
        thread::spawn(move || {
            let mut bytes = Vec::new();
            while answers.read_until(0, &mut bytes).is_ok_and(|read| read > 0) {
                bytes.pop();
                if serde_json::from_slice(&bytes).is_ok_and(|value| heard.send(value).is_err()) {
                    return;
                }
                bytes.clear();
            }
        });
        let browser = Self {
            commands: RefCell::new(Some(commands)),
            messages,
            events: RefCell::default(),
            state: RefCell::new((0, None)),
            child: RefCell::new(child),
            _home: home,
        };
        let target =
            browser.call_within(START, "Target.createTarget", json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let session = browser.call("Target.attachToTarget", attach)["sessionId"].clone();
        browser.state.borrow_mut().1 = Some(session.as_str().unwrap().to_owned());
        for domain in ["Page", "Runtime", "Network", "Log"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        Some(browser)
    }

    /// Calls a method of the protocol; fails the test if the browser refuses.
    #[track_caller]
    pub(crate) fn call(&self, method: &str, params: Value) -> Value {
        self.call_within(PATIENCE, method, params)
    }

    #[track_caller]
    fn call_within(&self, limit: Duration, method: &str, params: Value) -> Value {
        let (id, session) = {
            let mut state = self.state.borrow_mut();
            state.0 += 1;
            state.clone()
        };
        let mut message = json!({"id": id, "method": method, "params": params});
        if let Some(session) = session {
            message["sessionId"] = session.into();
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.commands.borrow_mut().as_mut().unwrap().write_all(&bytes).unwrap();
        until(method, limit, || {
            let answer = self.messages.try_recv().ok()?;
            if answer["id"] != id {
                self.events.borrow_mut().push_back(answer);
                return None;
            }
            assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
            Some(answer["result"].clone())
        })
    }

    /// Opens an address.
    #[track_caller]
    pub(crate) fn open(&self, address: &str) {
        let opened = self.call("Page.navigate", json!({"url": address}));
        assert!(opened["errorText"].is_null(), "{address}: {opened}");
    }

    /// What an expression is in the page.
    #[track_caller]
    pub(crate) fn value(&self, expression: &str) -> Value {
        let ask = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let answer = self.call("Runtime.evaluate", ask);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// The text that a reader sees in the first element that `selector` finds; empty if there is none.
    #[track_caller]
    pub(crate) fn text(&self, selector: &str) -> String {
        let selector = json!(selector);
        let found = self.value(&format!("document.querySelector({selector})?.innerText ?? ''"));
        found.as_str().unwrap().to_owned()
    }

    /// Waits until the text of an element has all `parts`.
    #[track_caller]
    pub(crate) fn wait_text(&self, selector: &str, parts: &[&str]) {
        let what = format!("{selector} says {parts:?}");
        until(&what, PATIENCE, || {
            let text = self.text(selector);
            parts.iter().all(|part| text.contains(part)).then_some(())
        });
    }

    /// Clicks on an element once a user could: when it is shown and nothing covers it. Looking and
    /// clicking are one step of the page's, so that nothing moves in between.
    #[track_caller]
    pub(crate) fn click(&self, selector: &str) {
        let step = format!(
            "(() => {{ const node = document.querySelector({}); if (!node) return false; \
             node.scrollIntoView({{ block: 'center', behavior: 'instant' }}); \
             const box = node.getBoundingClientRect(); \
             const [x, y] = [box.x + box.width / 2, box.y + box.height / 2]; \
             if (!node.contains(document.elementFromPoint(x, y))) return false; \
             node.focus(); node.click(); return true; }})()",
            json!(selector)
        );
        until(&format!("{selector} can be clicked"), PATIENCE, || {
            (self.value(&step) == true).then_some(())
        });
    }

    /// Types text where the focus is.
    #[track_caller]
    pub(crate) fn write(&self, text: &str) {
        self.call("Input.insertText", json!({"text": text}));
    }

    /// Presses a key without a letter, such as `Enter`.
    #[track_caller]
    pub(crate) fn key(&self, key: &str, code: u32) {
        let text = if key == "Enter" { "\r" } else { "" };
        for kind in ["keyDown", "keyUp"] {
            self.call(
                "Input.dispatchKeyEvent",
                json!({"type": kind, "key": key, "code": key, "text": text,
                       "windowsVirtualKeyCode": code}),
            );
        }
    }

    /// Gives the page a size, and a system that prefers light or dark.
    #[track_caller]
    pub(crate) fn look(&self, width: u32, height: u32, scheme: &str) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1,
                          "mobile": width < 600});
        self.call("Emulation.setDeviceMetricsOverride", size);
        let scheme = json!({"name": "prefers-color-scheme", "value": scheme});
        self.call("Emulation.setEmulatedMedia", json!({"features": [scheme]}));
    }

    /// Writes what the page looks like to a PNG file, and says where.
    #[track_caller]
    pub(crate) fn screenshot(&self, name: &str) -> PathBuf {
        let shot = self.call("Page.captureScreenshot", json!({"format": "png"}));
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dashboard");
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join(name).with_extension("png");
        fs::write(&file, base64(shot["data"].as_str().unwrap())).unwrap();
        eprintln!("screenshot: {}", file.display());
        file
    }

    /// All that was said without being asked for so far.
    pub(crate) fn events(&self) -> Vec<Value> {
        let mut events = self.events.borrow_mut();
        events.extend(self.messages.try_iter());
        events.iter().cloned().collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Without its pipe it ends by itself, and with it all the processes that it has started.
        drop(self.commands.borrow_mut().take());
        let deadline = std::time::Instant::now() + PATIENCE;
        while self.child.borrow_mut().runs() && std::time::Instant::now() < deadline {
            thread::park_timeout(Duration::from_millis(5));
        }
    }
}

fn base64(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => u32::from(byte - b'A'),
        b'a'..=b'z' => u32::from(byte - b'a') + 26,
        b'0'..=b'9' => u32::from(byte - b'0') + 52,
        b'+' => 62,
        _ => 63,
    };
    let digits: Vec<_> = text.trim_end_matches('=').bytes().map(digit).collect();
    let four = |four: &[u32]| {
        let bits = (0..4).fold(0, |bits, at| bits << 6 | four.get(at).copied().unwrap_or(0));
        let bytes = [bits >> 16, bits >> 8, bits].map(|byte| byte.to_le_bytes()[0]);
        bytes[..four.len() - 1].to_vec()
    };
    digits.chunks(4).flat_map(four).collect()
}
