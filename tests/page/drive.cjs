// Drives the site's page in a real Chromium. `node drive.cjs SCENARIO URL PIN`; PFORTE_NODE names the folder of node_modules.
// It asks the test for what happens at the site: a line on stdout, an answer on stdin.
"use strict";
const path = require("path");
const modules = path.join(process.env.PFORTE_NODE, "node_modules");
const { chromium } = require(path.join(modules, "playwright-core"));
const axe = path.join(modules, "axe-core", "axe.min.js");
const [scenario, url, pin] = process.argv.slice(2);
const shots = process.env.PFORTE_SHOTS;

const answers = [];
const waiting = [];
let rest = "";
process.stdin.on("data", (data) => {
  rest += data;
  for (let at; (at = rest.indexOf("\n")) >= 0; rest = rest.slice(at + 1)) {
    const line = rest.slice(0, at);
    const next = waiting.shift();
    if (next) next(line);
    else answers.push(line);
  }
});
function ask(line) {
  process.stdout.write(line + "\n");
  return answers.length ? Promise.resolve(answers.shift()) : new Promise((done) => waiting.push(done));
}
const happen = (what) => ask("happen " + what);
const told = async () => JSON.parse(await ask("told"));

function check(is, what) {
  if (!is) throw new Error(what);
}

async function open(browser, options) {
  const context = await browser.newContext({ locale: "de-DE", viewport: { width: 360, height: 740 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(10000);
  const wrong = [];
  page.on("pageerror", (error) => wrong.push("script: " + error.message));
  page.on("console", (message) => {
    // The browser says so itself of a login that is refused, and of a page that is none.
    const expected = /Failed to load resource.*(40[0134]|429)/.test(message.text());
    if (message.type() === "error" && !expected) wrong.push("console: " + message.text());
  });
  page.on("dialog", (dialog) => wrong.push("dialog: " + dialog.message()));
  page.on("request", (request) => {
    if (!request.url().startsWith(url + "/")) wrong.push("request: " + request.url());
  });
  return { context, page, wrong, close: async () => { await context.close(); check(!wrong.length, wrong.join("\n")); } };
}

const focus = (page) => page.evaluate(() => document.activeElement && document.activeElement.id);

/** By the Tab key alone, with a focus that is seen at each step. How many presses it took. */
async function tabTo(page, id) {
  for (let presses = 0; presses < 120; presses++) {
    const at = await page.evaluate(() => {
      const it = document.activeElement;
      if (!it || it === document.body) return { id: "", seen: true };
      const style = getComputedStyle(it);
      const box = it.getBoundingClientRect();
      // What was pressed with the mouse need not show that it has the focus.
      const seen = !it.matches(":focus-visible") || (style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2);
      return { id: it.id, seen, tag: it.outerHTML.slice(0, 120), height: box.height, width: box.width,
               inside: box.top < innerHeight && box.bottom > 0, tabbed: it.tabIndex >= 0 };
    });
    check(at.seen || !at.tabbed, "no focus to be seen: " + at.tag);
    if (at.id === id) {
      check(at.inside, "focused out of sight: " + at.tag);
      return presses;
    }
    await page.keyboard.press("Tab");
  }
  throw new Error("not reached by Tab: " + id);
}

async function press(page, id) {
  await tabTo(page, id);
  // The guard against buttons that moved under a finger.
  await page.waitForTimeout(800);
  await Promise.all([page.waitForEvent("load"), page.keyboard.press("Enter")]);
}

async function logIn(page) {
  await page.goto(url + "/");
  check(page.url() === url + "/login", page.url());
  check((await focus(page)) === "pin", "the PIN's field has the focus");
  await page.keyboard.type(pin);
  await Promise.all([page.waitForURL(url + "/"), page.keyboard.press("Enter")]);
}

const heading = (page) => page.locator("#switch-title").innerText();
const news = (page) => page.locator("#news").innerText();

/** A day at the practice, by keyboard alone. */
async function day(browser) {
  const { page, close } = await open(browser, {});
  await page.goto(url + "/");
  await page.keyboard.type("999999");
  await Promise.all([page.waitForEvent("load"), page.keyboard.press("Enter")]);
  check((await page.locator("#pin-error").innerText()).includes("stimmt nicht"), "the wrong PIN is told");
  check((await page.getAttribute("#pin", "aria-describedby")).includes("pin-error"), "at its field");
  await logIn(page);
  check((await heading(page)) === "Geschlossen", "closed at first");

  await press(page, "open-30");
  check((await heading(page)).startsWith("Offen bis 14:3"), await heading(page));
  check((await news(page)).includes("wer herein darf"), await news(page));
  check((await focus(page)) === "news", "what was done is read first");
  await press(page, "firm-firm");
  check((await page.locator("#part-who .may").innerText()).includes("darf herein bis"), "the firm is named");

  await tabTo(page, "who");
  await page.keyboard.type("Niemand!");
  await page.waitForTimeout(800);
  await Promise.all([page.waitForEvent("load"), page.keyboard.press("Enter")]);
  check((await focus(page)) === "who", "back at the field");
  check((await page.locator("#who-error").innerText()).includes("So heißt keine"), "told why");
  check((await page.inputValue("#who")) === "Niemand!", "what was typed is kept");
  await page.keyboard.press("Control+A");
  await page.keyboard.type("firm-jane.doe");
  await Promise.all([page.waitForEvent("load"), page.keyboard.press("Enter")]);
  check((await page.locator("[id='named-firm-jane.doe']").count()) === 1, "the person is named");

  // Somebody comes in while the receptionist is typing: it is seen and heard, and nothing typed is lost.
  await tabTo(page, "who");
  await page.keyboard.type("firm-m");
  await happen("enter");
  await page.waitForSelector("#end-01JDK3M5Q8VYH2T6XWZ4R7N9AB");
  check((await page.locator("#live").innerText()).includes("Gerade da: Jane Doe"), "it is said aloud");
  check((await focus(page)) === "who" && (await page.inputValue("#who")) === "firm-m", "typing goes on");
  await happen("deed");
  await page.waitForSelector("text=lpstat -p");
  const quick = page.url();
  await happen("ask");
  await page.waitForSelector("#part-asks button");
  // Pressed in the very moment in which it appeared under the finger: nothing is done.
  await page.locator("#part-asks button").first().click();
  check((await page.locator("#pause").innerText()).includes("noch einmal"), "too quick a press is told");
  check(page.url() === quick && !(await told()).some((it) => it.do === "grant"), "and does nothing");

  await press(page, "grant-01JDK3ASKASKASKASKASKASKAS");
  check((await told()).some((it) => it.do === "grant"), "the ask is allowed");
  await press(page, "end-01JDK3M5Q8VYH2T6XWZ4R7N9AB");
  check((await told()).some((it) => it.do === "end"), "the visit is ended");
  check((await page.locator("#part-present").innerText()).includes("Niemand"), "nobody is in");

  await tabTo(page, "language");
  const links = page.locator("#part-visits a");
  check((await links.count()) === 1, "one visit has its report");
  for (let n = 0; n < 120 && !(await links.evaluate((it) => it === document.activeElement)); n++) {
    await page.keyboard.press("Tab");
  }
  await Promise.all([page.waitForURL("**/visit/*"), page.keyboard.press("Enter")]);
  check((await page.locator("h1").innerText()) === "Besuchsbericht", "the report");
  check((await page.locator("main").innerText()).includes("Sicherung des Konnektors"), "in plain words");
  await page.goBack();
  await page.waitForSelector("#close");

  // To close: at the top, one press, from wherever the page begins.
  await page.reload();
  const presses = await tabTo(page, "close");
  check(presses <= 4, "closing took " + presses + " presses of Tab");
  await Promise.all([page.waitForEvent("load"), page.keyboard.press("Enter")]);
  check((await heading(page)) === "Geschlossen", "closed");
  check((await told()).pop().do === "close", "at once, unasked");

  // No trap: Tab leads out of the page again.
  let out = false;
  for (let n = 0; n < 120 && !out; n++) {
    await page.keyboard.press("Tab");
    out = await page.evaluate(() => document.activeElement === document.body || document.activeElement.className === "skip");
  }
  check(out, "Tab goes round");
  await page.keyboard.press("Shift+Tab");
  await press(page, "logout");
  check(page.url() === url + "/login", "logged out");
  await close();
}

/** The guard and the news, when the PIN's session is over or the device is gone. */
async function gone(browser) {
  const { page, context, close, wrong } = await open(browser, {});
  await logIn(page);
  await happen("open");
  await page.waitForSelector("#close");
  await context.clearCookies();
  await happen("ask");
  await page.waitForURL(url + "/login?then=again");
  check((await page.locator(".news").innerText()).includes("nichts geändert"), "told that nothing was changed");
  await page.keyboard.type(pin);
  await Promise.all([page.waitForURL(url + "/"), page.keyboard.press("Enter")]);
  await context.setOffline(true);
  await page.waitForSelector("#offline:not([hidden])", { timeout: 20000 });
  check((await page.locator("#offline").innerText()).includes("veraltet"), "told that it may be out of date");
  await context.setOffline(false);
  await page.waitForSelector("#offline", { state: "hidden", timeout: 20000 });
  wrong.splice(0, wrong.length, ...wrong.filter((it) => !it.includes("ERR_INTERNET_DISCONNECTED")));
  await close();
}

/** Without JavaScript. */
async function plain(browser) {
  const { page, close } = await open(browser, { javaScriptEnabled: false });
  await page.goto(url + "/");
  await page.fill("#pin", pin);
  await page.click("main button");
  await page.click("#open-today");
  check((await heading(page)).startsWith("Offen bis"), "open");
  await page.click("#firm-firm");
  await happen("enter");
  await happen("ask");
  check((await page.locator("#part-present").innerText()).includes("Niemand"), "not by itself");
  await page.click("a.reload");
  check((await page.locator("#part-present").innerText()).includes("Jane Doe"), "by hand");
  await page.click("#grant-01JDK3ASKASKASKASKASKASKAS");
  await page.fill("#who", "quatsch");
  await page.click("#who-allow");
  check((await page.locator("#who-error").innerText()).includes("So heißt keine"), "told why");
  await page.click("#end-01JDK3M5Q8VYH2T6XWZ4R7N9AB");
  await page.click("#language");
  check((await page.locator("#close").innerText()) === "Close now", "in English");
  await page.click("#part-visits a");
  check((await page.locator("h1").innerText()) === "Visit report", "the report");
  await page.click(".back a");
  await page.click("#close");
  check((await heading(page)) === "Closed", "closed");
  const all = (await told()).map((it) => it.do).join(" ");
  check(all === "open-today allow grant allow end close", all);
  await close();
}

async function look(page, name) {
  if (shots) await page.screenshot({ path: path.join(shots, name + ".png"), fullPage: true });
  // Past the page's own policy, which forbids it as a script.
  await page.evaluate(require("fs").readFileSync(axe, "utf8"));
  const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations", "incomplete"] }));
  const list = found.violations.map((it) => it.id + ": " + it.nodes.map((node) => node.html + " " + node.failureSummary).join("; "));
  // What axe cannot decide about contrast is not decided by us either.
  const open = found.incomplete.filter((it) => it.id === "color-contrast").map((it) => it.nodes.map((node) => node.html).join("; "));
  check(!list.length && !open.length, name + "\n" + list.concat(open).join("\n"));
  const small = await page.evaluate(() => Array.from(document.querySelectorAll("button, a[href], input:not([type=hidden]), summary"), (it) => {
    const box = it.getBoundingClientRect();
    return it.className !== "skip" && (box.height < 24 || box.width < 24) ? it.outerHTML : "";
  }).filter(Boolean));
  check(!small.length, name + ": smaller than 24 px: " + small.join("; "));
  const low = await page.evaluate(() => Array.from(document.querySelectorAll("button, input:not([type=hidden])"), (it) =>
    it.getBoundingClientRect().height < 44 ? it.outerHTML : "").filter(Boolean));
  check(!low.length, name + ": lower than 44 px: " + low.join("; "));
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  check(wide <= 0, name + ": wider than the window by " + wide);
}

/** Every page and state, in both languages, light and dark, narrow and wide. */
async function axes(browser) {
  for (const locale of ["de-DE", "en-GB"]) {
    for (const colorScheme of ["light", "dark"]) {
      for (const width of [320, 360, 1280]) {
        if (width === 320 && colorScheme === "dark") continue;
        const name = (state) => [state, locale.slice(0, 2), colorScheme, width].join("-");
        const { page, close } = await open(browser, { locale, colorScheme, reducedMotion: "reduce", viewport: { width, height: 800 } });
        await happen("closed");
        await page.goto(url + "/");
        await look(page, name("1-login"));
        await page.fill("#pin", "");
        await page.evaluate(() => document.querySelector("main form").noValidate = true);
        await page.click("main button");
        await look(page, name("2-login-wrong"));
        await page.goto(url + "/login?then=close");
        await look(page, name("2-login-close"));
        await logIn(page);
        await look(page, name("3-closed"));
        await page.click("#open-30");
        await look(page, name("4-open"));
        await page.fill("#who", "quatsch");
        await page.click("#who-allow");
        await look(page, name("5-refused"));
        await happen("all");
        await happen("red");
        await page.waitForSelector("#part-lights .mark.red");
        await page.goto(url + "/");
        await look(page, name("6-busy"));
        for (const it of ["#lights-green-all", "#open-more-all"]) await page.click(it);
        await look(page, name("6-unfolded"));
        const still = await page.evaluate(() => getComputedStyle(document.querySelector(".dot")).animationName);
        check(still === "none", "reduced motion: " + still);
        await happen("green");
        await page.goto(url + "/visit/01JDJZZZQ8VYH2T6XWZ4R7N9AB");
        await look(page, name("7-report"));
        await page.goto(url + "/visit/01JDJYYYQ8VYH2T6XWZ4R7N9AB");
        await look(page, name("8-not-yet"));
        await close();
      }
    }
  }
}

/** Text of others in every field: nothing runs, and nothing is asked of anybody else. */
async function hostile(browser) {
  const { page, close } = await open(browser, {});
  await logIn(page);
  await happen("hostile");
  await page.waitForSelector("text=⟨U+202E⟩");
  await page.goto(url + "/");
  await page.waitForSelector("text=⟨U+202E⟩");
  const run = await page.evaluate(() => document.querySelectorAll("img, main script, [onerror]").length);
  check(run === 0, run + " elements of others");
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  check(wide <= 0, "wider than the window by " + wide);
  await close();
}

/** Over TLS, typed without its https://: led on, logged in, and nothing that it keeps goes over anything else. */
async function sealed(browser) {
  const { context, page, wrong, close } = await open(browser, {});
  await page.goto(url.replace("https:", "http:") + "/");
  check(page.url() === url + "/login", page.url());
  check(wrong.length === 1 && wrong[0].startsWith("request: http:"), wrong.join("\n"));
  wrong.length = 0;
  await logIn(page);
  await press(page, "open-30");
  check((await heading(page)).startsWith("Offen bis"), await heading(page));
  await happen("enter");
  await page.waitForSelector("#part-present .there");
  await Promise.all([page.waitForEvent("load"), page.click("#language")]);
  check(await page.evaluate(() => isSecureContext), "a secure context");
  const kept = (await context.cookies()).map((it) => [it.name, it.secure, it.httpOnly, it.sameSite, it.path].join(" "));
  check(kept.sort().join(", ") === "__Host-pforte true true Strict /, lang true true Strict /", kept.join(", "));
  check((await page.locator("#part-access").isHidden()), "the fingerprint is shown at the device alone");
  await close();
}

/** Who does not know the certificate is warned, and sends nothing. */
async function stranger(browser) {
  const { page, context } = await open(browser, {});
  const error = await page.goto(url + "/").then(() => "none", (it) => String(it));
  check(error.includes("ERR_CERT_AUTHORITY_INVALID"), error);
  await context.close();
}

(async () => {
  const browser = await chromium.launch({
    executablePath: process.env.PFORTE_CHROMIUM || "/usr/bin/chromium",
    // The tests run as root in a container, where Chromium's own sandbox cannot be set up.
    args: ["--no-sandbox", "--disable-gpu"].concat(
      process.env.PFORTE_SPKI ? ["--ignore-certificate-errors-spki-list=" + process.env.PFORTE_SPKI] : []),
  });
  try {
    await { day, gone, plain, axes, hostile, sealed, stranger }[scenario](browser);
    process.stdout.write("done\n");
  } catch (error) {
    process.stdout.write("failed " + JSON.stringify(String(error.stack || error)) + "\n");
  } finally {
    await browser.close();
    process.exit(0);
  }
})();
