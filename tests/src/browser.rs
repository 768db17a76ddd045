//! A real Chromium, driven over WebDriver: what a person would do at the console, by mouse and by keyboard.
//!
//! `tests/run` installs the browser, its driver and axe-core.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fantoccini::actions::{InputSource as _, KeyAction, KeyActions, MouseActions, PointerAction};
use fantoccini::elements::Element;
use fantoccini::error::CmdError;
use fantoccini::key::Key;
use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::{ports, until};

/// How long a screen may take to show something. A test build on a busy machine is slow; what must be fast is measured
/// with [`Browser::script`].
const PATIENCE: Duration = Duration::from_secs(30);

/// What the viewer has.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    /// In CSS pixels.
    pub width: u32,
    /// In CSS pixels.
    pub height: u32,
    /// Whether dark colours are preferred.
    pub is_dark: bool,
}

impl Screen {
    /// A desktop.
    pub const DESKTOP: Screen = Screen { width: 1200, height: 900, is_dark: false };
    /// A small phone.
    pub const PHONE: Screen = Screen { width: 360, height: 740, is_dark: false };

    /// The same, by night.
    pub const fn dark(self) -> Self {
        Screen { is_dark: true, ..self }
    }
}

/// A command of Chromium's own.
#[derive(Debug)]
struct Cdp(Value);

impl WebDriverCompatibleCommand for Cdp {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/goog/cdp/execute", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &url::Url) -> (hyper::Method, Option<String>) {
        (hyper::Method::POST, Some(self.0.to_string()))
    }
}

/// A browser with one tab. It ends with the value.
pub struct Browser {
    runtime: Runtime,
    client: Client,
    driver: Child,
    /// Its profile.
    dir: TempDir,
}

impl Browser {
    /// Starts one.
    pub fn start(screen: Screen) -> Self {
        let (port, dir) = (ports::free(), tempfile::tempdir().expect("a temporary directory"));
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver is there: start the tests with tests/run, which installs it");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let options = json!({
            "args": [
                "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic",
                "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
                "--no-proxy-server", "--force-color-profile=srgb", "--hide-scrollbars",
                format!("--user-data-dir={}", dir.path().display()),
            ],
        });
        let capabilities = json!({"browserName": "chrome", "goog:chromeOptions": options});
        let capabilities = capabilities.as_object().cloned().expect("an object");
        let url = format!("http://127.0.0.1:{port}");
        // The driver takes a moment to listen.
        let client = until("a session of the browser", PATIENCE, || {
            let mut builder = ClientBuilder::new(HttpConnector::new());
            builder.capabilities(capabilities.clone());
            runtime.block_on(builder.connect(&url)).ok()
        });
        let browser = Browser { runtime, client, driver, dir };
        browser.resize(screen);
        browser
    }

    /// Another size, and another preference of colours.
    pub fn resize(&self, screen: Screen) {
        let Screen { width, height, is_dark } = screen;
        let is_small = width < 600;
        self.cdp(
            "Emulation.setDeviceMetricsOverride",
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": is_small}),
        );
        let scheme = if is_dark { "dark" } else { "light" };
        let features = json!([
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]);
        self.cdp("Emulation.setEmulatedMedia", json!({ "features": features }));
    }

    fn cdp(&self, command: &str, parameters: Value) {
        let command = Cdp(json!({"cmd": command, "params": parameters}));
        self.run(self.client.issue_cmd(command)).expect("the browser takes the command");
    }

    fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Goes to a page.
    pub fn open(&self, url: &str) {
        self.run(self.client.goto(url)).expect("the page can be opened");
    }

    /// Loads the page again.
    pub fn reload(&self) {
        self.run(self.client.refresh()).expect("the page can be loaded again");
    }

    /// Goes back, as by the browser's own button.
    pub fn back(&self) {
        self.run(self.client.back()).expect("there is a page before");
    }

    /// Where it is.
    pub fn url(&self) -> String {
        self.run(self.client.current_url()).expect("the page has a URL").to_string()
    }

    /// The first element that is shown and that this CSS selector, or XPath if it begins with `/`, finds. Waits for it.
    #[track_caller]
    fn shown(&self, selector: &str) -> Element {
        until(&format!("{selector} to be shown"), PATIENCE, || {
            let found = self.run(self.client.find_all(locator(selector))).ok()?;
            found.into_iter().find(|element| self.run(element.is_displayed()).unwrap_or(false))
        })
    }

    /// Does something with an element, again if the page has just replaced it.
    #[track_caller]
    fn with<T>(&self, selector: &str, act: impl Fn(&Element) -> Result<T, CmdError>) -> T {
        until(&format!("{selector} to be there and to be used"), PATIENCE, || act(&self.shown(selector)).ok())
    }

    /// Waits until it is shown.
    #[track_caller]
    pub fn see(&self, selector: &str) {
        self.shown(selector);
    }

    /// Waits until nothing of it is shown.
    #[track_caller]
    pub fn see_no(&self, selector: &str) {
        until(&format!("{selector} to be gone"), PATIENCE, || {
            let found = self.run(self.client.find_all(locator(selector))).ok()?;
            let shown = found.iter().any(|element| self.run(element.is_displayed()).unwrap_or(false));
            (!shown).then_some(())
        });
    }

    /// Waits until an element shows this text.
    #[track_caller]
    pub fn read(&self, selector: &str, text: &str) {
        until(&format!("{selector} to say {text:?}"), PATIENCE, || {
            self.run(self.shown(selector).text()).ok()?.contains(text).then_some(())
        });
    }

    /// What an element shows.
    #[track_caller]
    pub fn text(&self, selector: &str) -> String {
        self.with(selector, |element| self.run(element.text()))
    }

    /// How many there are, shown or not.
    pub fn count(&self, selector: &str) -> usize {
        self.run(self.client.find_all(locator(selector))).map_or(0, |found| found.len())
    }

    /// A click at it. What lies behind something else can't be clicked at.
    #[track_caller]
    pub fn click(&self, selector: &str) {
        self.with(selector, |element| {
            // As a person would: what lies below a fixed bar is brought to the middle first.
            let there = serde_json::to_value(element)?;
            self.run(self.client.execute("arguments[0].scrollIntoView({block: 'center'})", vec![there]))?;
            self.run(element.click())
        });
    }

    /// Replaces what stands in a field.
    #[track_caller]
    pub fn fill(&self, selector: &str, text: &str) {
        self.with(selector, |element| {
            self.run(element.clear())?;
            self.run(element.send_keys(text))
        });
    }

    /// Chooses by value.
    #[track_caller]
    pub fn choose(&self, selector: &str, value: &str) {
        self.with(selector, |element| self.run(element.select_by_value(value)));
    }

    /// Keys, one after another, for whatever has the focus.
    #[track_caller]
    pub fn press(&self, keys: &str) {
        let keys = keys.chars().fold(KeyActions::new("keys".into()), |keys, value| {
            keys.then(KeyAction::Down { value }).then(KeyAction::Up { value })
        });
        self.run(self.client.perform_actions(keys)).expect("keys can be pressed");
    }

    /// The Enter key.
    #[track_caller]
    pub fn enter(&self) {
        self.press(&Key::Enter.to_string());
    }

    /// The Escape key.
    #[track_caller]
    pub fn escape(&self) {
        self.press(&Key::Escape.to_string());
    }

    /// Selects what stands in a field, as by Ctrl+A.
    #[track_caller]
    pub fn select_all(&self) {
        let (control, value) = (char::from(Key::Control), 'a');
        let keys = KeyActions::new("keys".into())
            .then(KeyAction::Down { value: control })
            .then(KeyAction::Down { value })
            .then(KeyAction::Up { value })
            .then(KeyAction::Up { value: control });
        self.run(self.client.perform_actions(keys)).expect("keys can be pressed");
    }

    /// The pointer goes there.
    #[track_caller]
    pub fn hover(&self, selector: &str) {
        self.with(selector, |element| {
            let over = MouseActions::new("mouse".into()).then(PointerAction::MoveToElement {
                element: element.clone(),
                duration: None,
                x: 0.0,
                y: 0.0,
            });
            self.run(self.client.perform_actions(over))
        });
    }

    /// Tab, until this has the focus.
    #[track_caller]
    pub fn tab_to(&self, selector: &str) {
        let is_there = "return document.activeElement?.matches(arguments[0]) ?? false";
        for _ in 0..200 {
            if self.script(is_there, &[json!(selector)]) == true {
                return;
            }
            self.press(&Key::Tab.to_string());
        }
        panic!("{selector} can't be reached by keyboard");
    }

    /// Runs the body of a function in the page.
    #[track_caller]
    pub fn script(&self, body: &str, arguments: &[Value]) -> Value {
        self.run(self.client.execute(body, arguments.to_vec())).expect("the script runs")
    }

    /// Runs the body of a function that calls its last argument in the end.
    #[track_caller]
    pub fn asynchronous(&self, body: &str, arguments: &[Value]) -> Value {
        self.run(self.client.execute_async(body, arguments.to_vec())).expect("the script runs")
    }

    /// A picture of what is in view, as PNG.
    pub fn screenshot(&self, path: &Path) {
        let picture = self.run(self.client.screenshot()).expect("a picture of the page");
        std::fs::write(path, picture).expect("the picture can be written");
    }

    /// Checks that axe finds no serious fault in what is shown.
    #[track_caller]
    pub fn check_accessibility(&self, what: &str) {
        let axe = axe();
        let axe = std::fs::read_to_string(&axe)
            .unwrap_or_else(|error| panic!("{}: {error}: start the tests with tests/run", axe.display()));
        self.script(&format!("if (!window.axe) {{ {axe} }}"), &[]);
        let found = self.asynchronous(
            "const done = arguments[arguments.length - 1];
             axe.run(document, {resultTypes: ['violations']}).then(
                 (result) => done(result.violations.map((fault) => ({
                     impact: fault.impact, id: fault.id, help: fault.help,
                     nodes: fault.nodes.slice(0, 3).map((node) => node.html + ' ' + node.failureSummary),
                 }))),
                 (error) => done([{impact: 'critical', id: 'axe', help: String(error)}]),
             );",
            &[],
        );
        let faults = found.as_array().cloned().unwrap_or_default();
        let serious: Vec<&Value> = faults
            .iter()
            .filter(|fault| matches!(fault["impact"].as_str(), Some("serious" | "critical")))
            .collect();
        assert!(serious.is_empty(), "{what}: {}", serde_json::to_string_pretty(&serious).unwrap_or_default());
    }
}

fn locator(selector: &str) -> Locator<'_> {
    if selector.starts_with('/') { Locator::XPath(selector) } else { Locator::Css(selector) }
}

/// Where `tests/run` puts axe-core.
fn axe() -> PathBuf {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/axe");
    let folder = std::env::var_os("TIDINGS_TEST_AXE").map_or(default, PathBuf::from);
    folder.join("node_modules/axe-core/axe.min.js")
}

impl Drop for Browser {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let path = std::env::temp_dir().join(format!("tidings-console-{}.png", ports::free()));
            if let Ok(picture) = self.runtime.block_on(self.client.screenshot())
                && std::fs::write(&path, picture).is_ok()
            {
                eprintln!("the page as it was: {}", path.display());
            }
        }
        // The browser ends with its session; without the driver it would stay.
        let _ended = self.runtime.block_on(self.client.clone().close());
        let _killed = self.driver.kill();
        let _waited = self.driver.wait();
        let _kept_until_here = &self.dir;
    }
}
