// The web page in a headless Chromium: what a person does with it, and what hostile answers must not
// do. Against `nanovllm serve` where the program has it, and against a mock for the rest.
//   node tests/web/page.test.mjs --modules DIR [--program nanovllm | --mock] [--screenshots DIR]
// DIR holds node_modules/playwright-core. The pictures of docs/ are made by
//   tests/check_page.sh --screenshots docs       (in the build folder, $NANOVLLM_PROGRAM set)
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { createServer } from "node:net";
import { parseArgs } from "node:util";
import { createMock } from "./mock_server.mjs";
import { page as pageSource, policy } from "./policy.mjs";
import { takeScreenshots } from "./screenshots.mjs";

const { values: options } = parseArgs({ options: {
  modules: { type: "string" }, program: { type: "string" }, mock: { type: "boolean" }, chromium: { type: "string" },
  screenshots: { type: "string" },
} });
const { chromium } = createRequire(options.modules + "/")("playwright-core");
const STOP = "#send[aria-label=Stop]", SEND = "#send[aria-label=Send]";
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/* ---- Servers ---- */
async function freePort() {
  const probe = createServer();
  await new Promise((resolve) => probe.listen(0, "127.0.0.1", resolve));
  const { port } = probe.address();
  await new Promise((resolve) => probe.close(resolve));
  return port;
}

/* `nanovllm serve` on the built-in model: {url, close}, or null if the program has no such command. */
async function startProgram(program) {
  if (!program || spawnSync(program, ["serve", "--help"]).status !== 0) return null;
  const port = await freePort();
  // For the tests so slow that an answer can be stopped.
  const env = options.screenshots ? process.env : { ...process.env, NANOVLLM_CPU: "ref" };
  const child = spawn(program, ["serve", "--port", String(port)], { env, stdio: ["ignore", "ignore", "pipe"] });
  let log = "";
  child.stderr.on("data", (text) => { log = (log + text).slice(-4000); });
  const ended = new Promise((resolve) => child.on("exit", (code, signal) => resolve(code ?? signal)));
  const url = `http://127.0.0.1:${port}/`;
  for (let i = 0; i < 300; i++) {
    if (await fetch(url + "health").then((it) => it.ok, () => false)) {
      return { url, close: async () => { child.kill("SIGTERM"); assert.equal(await ended, 0, "exit status of serve: " + log); } };
    }
    if (child.exitCode !== null) break;
    await sleep(100);
  }
  child.kill("SIGKILL");
  throw new Error(`${program} serve does not answer: ${log}`);
}

/* ---- A tiny harness: every case gets a page of its own ---- */
const launchOptions = { executablePath: options.chromium ?? "/usr/bin/chromium", args: ["--no-sandbox"] };
const browser = await chromium.launch(launchOptions);
let passed = 0, failed = 0;

async function test(name, url, work, { mayBlock = false, ...contextOptions } = {}) {
  const context = await browser.newContext({ viewport: { width: 1100, height: 800 }, ...contextOptions });
  context.setDefaultTimeout(30000);
  const page = await context.newPage();
  const broken = [];
  page.on("pageerror", (error) => broken.push(error.message));
  page.on("console", (line) => { if (/Content Security Policy|TrustedHTML/.test(line.text())) broken.push(line.text()); });
  try {
    await page.goto(url);
    await work(page, context);
    if (!mayBlock) assert.deepEqual(broken, [], "errors in the page");
    passed++;
    console.log("ok - " + name);
  } catch (error) {
    failed++;
    console.log("not ok - " + name + "\n" + String(error.stack).replace(/^/gm, "    "));
  }
  await context.close();
}

const ask = async (page, text) => {
  await page.fill("#prompt", text);
  await page.press("#prompt", "Enter");
};
const settled = (page) => page.waitForSelector(SEND);
const lastAnswer = (page) => page.locator(".assistant .body").last().innerText();
const metric = async (url, name) => {
  const text = await (await fetch(url + "metrics")).text();
  return Number(new RegExp(`^nanovllm_${name}(?:\\{.*\\})? (\\S+)`, "m").exec(text)[1]);
};

/* Makes answers of a real model long, or short, whatever it would like to say. */
const fixLength = (page, num_tokens) => page.route("**/v1/chat/completions", (route) => {
  const body = { ...route.request().postDataJSON(), max_tokens: num_tokens, ignore_eos: true };
  return route.continue({ postData: JSON.stringify(body) });
});

/* ---- Cases for a real server and the mock alike ---- */
async function commonCases(url, kind) {
  const common = (name, work, contextOptions) => test(`${name} (${kind})`, url, work, contextOptions);

  await common("the page is what the source has, with its policy", async () => {
    const response = await fetch(url);
    assert.equal(await response.text(), pageSource);
    assert.equal(response.headers.get("content-security-policy"), policy);
    assert.match(response.headers.get("content-type"), /^text\/html/);
  });

  await common("ask: the answer streams in and its numbers are shown", async (page) => {
    await fixLength(page, 900); // many frames of the page long
    await page.evaluate(() => {
      window.lengths = new Set();
      new MutationObserver(() => window.lengths.add(document.querySelector(".assistant .body")?.innerText.length))
        .observe(document.querySelector("#messages"), { subtree: true, childList: true, characterData: true });
    });
    await ask(page, "Once upon a time");
    await settled(page);
    assert.ok((await lastAnswer(page)).length > 40);
    assert.ok(await page.evaluate(() => window.lengths.size) > 3, "the answer did not come in pieces");
    const stats = await page.locator(".stats").innerText();
    assert.match(stats, /\d+ tokens/);
    assert.match(stats, /[\d.]+ tokens\/s/);
    assert.match(stats, /first token after [\d.]+ m?s/);
    assert.match(stats, /\d+ of \d+ prompt tokens cached/);
    assert.notEqual(await page.locator("#model").innerText(), "");
  });

  await common("Shift+Enter makes a line, Enter sends", async (page) => {
    await fixLength(page, 4);
    await page.locator("#prompt").pressSequentially("one");
    await page.press("#prompt", "Shift+Enter");
    await page.locator("#prompt").pressSequentially("two");
    assert.equal(await page.inputValue("#prompt"), "one\ntwo");
    await page.press("#prompt", "Enter");
    await settled(page);
    assert.equal(await page.locator(".user .bubble").innerText(), "one\ntwo");
  });

  await common("stop: by button and by Escape; the server drops the request", async (page) => {
    await fixLength(page, 900);
    for (const stop of [() => page.click(STOP), () => page.keyboard.press("Escape")]) {
      await ask(page, "Tell me a long story.");
      await page.waitForFunction(() => document.querySelector(".assistant:last-child .body").innerText.length > 20);
      await stop();
      await settled(page);
      assert.match(await page.locator(".stats").last().innerText(), /stopped/);
      const kept = await lastAnswer(page);
      assert.ok(kept.length > 20);
      await sleep(300);
      assert.equal(await lastAnswer(page), kept, "text came after the stop");
    }
    for (let i = 0; i < 20 && await metric(url, "num_requests_running") > 0; i++) await sleep(100);
    assert.equal(await metric(url, "num_requests_running"), 0);
  });

  await common("retry replaces the answer; delete removes the turn and can be undone", async (page) => {
    await fixLength(page, 20);
    await ask(page, "Who are you?");
    await settled(page);
    await page.click(".assistant [aria-label=Retry]");
    await settled(page);
    assert.equal(await page.locator(".assistant").count(), 1);
    assert.ok((await lastAnswer(page)).length > 5);
    await page.click(".assistant [aria-label^=Delete]");
    assert.equal(await page.locator(".message").count(), 0);
    await page.click("#toast button");
    assert.equal(await page.locator(".message").count(), 2);
  });

  await common("edit sends the changed message and drops what followed", async (page) => {
    await fixLength(page, 8);
    for (const text of ["first", "second"]) {
      await ask(page, text);
      await settled(page);
    }
    await page.locator(".user").first().hover();
    await page.locator(".user [aria-label^=Edit]").first().click();
    await page.fill(".editor textarea", "changed");
    await page.press(".editor textarea", "Enter");
    await settled(page);
    assert.deepEqual(await page.locator(".user .bubble").allInnerTexts(), ["changed"]);
    assert.equal(await page.locator(".assistant").count(), 1);
  });

  await common("settings are sent, survive a reload, and empty ones are not sent", async (page) => {
    const sent = [];
    page.on("request", (request) => { if (request.url().endsWith("/chat/completions")) sent.push(request.postDataJSON()); });
    await page.click("#settings-open");
    await page.fill("#set-system", "Be brief.");
    await page.fill("#set-temperature", "0.5");
    await page.fill("#set-max_tokens", "7");
    await page.fill("#set-seed", "42");
    await page.fill("#set-stop", "never\\nsaid");
    await page.fill("#set-top_p", "3");
    assert.equal(await page.getAttribute("#set-top_p", "aria-invalid"), "true");
    await page.reload();
    await page.click("#settings-open");
    assert.equal(await page.inputValue("#set-temperature"), "0.5");
    await ask(page, "Hello");
    await settled(page);
    const { model, messages, ...rest } = sent[0];
    assert.equal(model, await page.locator("#model").innerText());
    assert.deepEqual(messages, [{ role: "system", content: "Be brief." }, { role: "user", content: "Hello" }]);
    assert.deepEqual(rest, { stream: true, stream_options: { include_usage: true }, temperature: 0.5, max_tokens: 7, seed: 42, stop: ["never\nsaid"] });
    assert.equal(await page.locator(".failure:visible").count(), 0);
  });

  await common("conversations are kept, renamed, exported and deleted", async (page) => {
    await fixLength(page, 6);
    await ask(page, "The first one");
    await settled(page);
    await page.click("#new");
    await ask(page, "The second one");
    await settled(page);
    await page.reload();
    const titles = () => page.locator("#conversations .open").allInnerTexts();
    assert.deepEqual(await titles(), ["The second one", "The first one"]);
    assert.equal(await page.locator(".user .bubble").innerText(), "The second one");
    await page.locator("#conversations .open").last().click();
    assert.equal(await page.locator(".user .bubble").innerText(), "The first one");
    await page.click("li.current [aria-label=Rename]");
    await page.keyboard.type("Renamed");
    await page.keyboard.press("Enter");
    assert.deepEqual(await titles(), ["The second one", "Renamed"]);
    const download = page.waitForEvent("download");
    await page.click("li.current [aria-label^=Export]");
    const { messages, title } = JSON.parse(await streamText(await (await download).createReadStream()));
    assert.equal(title, "Renamed");
    assert.deepEqual(messages.map(({ role }) => role), ["user", "assistant"]);
    await page.click("li.current [aria-label^=Delete]");
    assert.deepEqual(await titles(), ["The second one"]);
    await page.reload();
    assert.deepEqual(await titles(), ["The second one"]);
  });

  await common("the server tab shows live numbers, and asks for them only while it is open", async (page) => {
    let polls = 0;
    page.on("request", (request) => { if (request.url().endsWith("/metrics")) polls++; });
    await fixLength(page, 300);
    await page.click("#tab-server");
    await page.waitForFunction(() => document.querySelector("#m-generation").textContent !== "–");
    await page.click("#tab-chat");
    await sleep(1200);
    const before = polls;
    await ask(page, "Tell me a story, please.");
    await sleep(1500);
    assert.equal(polls, before, "polled while the tab was closed");
    await page.press("#tab-chat", "ArrowRight");
    await page.waitForFunction(() => parseFloat(document.querySelector("#m-generation").textContent) > 0, null, { timeout: 8000 });
    assert.ok(await page.locator("#c-generation path").count() >= 2);
    await page.click("#tab-chat");
    if (await page.locator(STOP).count()) await page.click(STOP);
    await settled(page);
    await page.click("#tab-server");
    await page.waitForFunction(() => /\d/.test(document.querySelector("#m-latency").rows[0].cells[1].textContent));
    await page.waitForFunction(() => [...document.querySelector("#m-finished").rows].some((row) => Number(row.cells[2].textContent) > 0));
    assert.match(await page.locator("#m-kv").innerText(), /%/);
  });

  await common("a screen 360 pixels wide: nothing sticks out, everything can be reached", async (page) => {
    await fixLength(page, 30);
    await ask(page, "word".repeat(100));
    await settled(page);
    const fits = () => page.evaluate(() => document.documentElement.scrollWidth <= innerWidth &&
      [...document.querySelectorAll(".message, .bar > *, #composer > *, .card")].every((node) => node.getBoundingClientRect().right <= innerWidth));
    assert.ok(await fits(), "the chat is too wide");
    await page.click("#settings-open");
    await page.fill("#set-temperature", "1");
    await page.click("#settings-close");
    await page.click("#menu");
    assert.equal(await page.locator("#conversations .open").count(), 1);
    await page.click("#new");
    assert.ok(await page.locator("#side").isHidden());
    await page.click("#tab-server");
    assert.ok(await fits(), "the server tab is too wide");
  }, { viewport: { width: 360, height: 640 }, isMobile: true, hasTouch: true });
}

async function streamText(stream) {
  let text = "";
  for await (const part of stream) text += part;
  return text;
}

/* ---- Cases that need answers of our choice ---- */
const HOSTILE = [
  "<script>window.hacked = 1</script>", "<img src=x onerror='window.hacked = 1'>", "<svg onload=window.hacked=1>",
  "<iframe src='javascript:parent.hacked=1'></iframe><link rel=stylesheet href=http://evil.test/x.css>",
  "[x](javascript:window.hacked=1) [x](JaVaScRiPt:alert(1)) [x](java\tscript:alert(1)) [x](data:text/html,<script>1</script>)",
  "[x](vbscript:x) [x](  javascript:alert(1)) [x](<javascript:alert(1)>) [x](&#106;avascript:alert(1)) [x](file:///etc/passwd)",
  "![x](http://evil.test/pixel.png) ![x](javascript:window.hacked=1) ![\"onerror=\"window.hacked=1](x)",
  "<http://evil.test/\"onmouseover=\"window.hacked=1> http://evil.test/'onclick='window.hacked=1",
  "```html\n<script>window.hacked = 1</script>\n<img src=x onerror=window.hacked=1>\n```",
  "```\"><img/src=x/onerror=window.hacked=1>\ncode\n```",
  "| <img src=x onerror=window.hacked=1> | b |\n|---|---|\n| `<script>window.hacked=1</script>` | [x](javascript:1) |",
  "# <img src=x onerror=window.hacked=1>\n\n> <body onload=window.hacked=1>\n\n1. <style>@import 'http://evil.test/'</style>",
  "__proto__ [constructor](constructor) ```__proto__\n1\n```",
].join("\n\n");

async function mockCases(mock, url) {
  const { state } = mock;
  const initial = { ...state };
  const fresh = (name, work, contextOptions) => test(name, url, async (page, context) => {
    Object.assign(state, initial, { delay_ms: 1, requests: [] });
    await work(page, context);
  }, contextOptions);

  await fresh("hostile markup runs nothing, loads nothing and links nowhere it must not", async (page) => {
    const requests = [];
    page.on("request", (request) => requests.push(request.url()));
    page.on("dialog", (dialog) => { requests.push("dialog"); dialog.dismiss(); });
    state.answer = () => HOSTILE;
    state.reasoning = HOSTILE;
    await ask(page, HOSTILE);
    await settled(page);
    await page.click(".reasoning summary");
    await page.reload(); // and once more from the storage
    await page.waitForSelector(".assistant .body .code");
    await sleep(300);
    assert.equal(await page.evaluate(() => window.hacked), undefined);
    const within = await page.evaluate(() => [...document.querySelectorAll("#messages *, #conversations *")].map((node) => ({
      tag: node.localName, names: node.getAttributeNames().filter((name) => name.startsWith("on") || name === "src" || name === "style"), href: node.getAttribute("href"),
    })));
    const unexpected = within.filter(({ tag, names }) => names.length || /^(script|img|iframe|link|style|object|embed|body|base|meta|form)$/.test(tag));
    assert.deepEqual(unexpected, []);
    const links = within.filter(({ tag }) => tag === "a").map(({ href }) => href);
    assert.ok(links.length >= 3);
    for (const href of links) assert.match(href, /^(https?|mailto):/);
    assert.match(await page.locator(".assistant .body").innerText(), /<script>window\.hacked = 1<\/script>/);
    assert.deepEqual(requests.filter((it) => !it.startsWith(url) && !it.startsWith("data:image/svg")), []);
  });

  await fresh("the policy stops what would get past the page", async (page) => {
    const blocked = await page.evaluate(async (evil) => {
      const add = (tag, name, value) => {
        const node = document.createElement(tag);
        try { node[name] = value; } catch { /* trusted types */ }
        document.body.append(node);
      };
      add("script", "textContent", "window.hacked = 1");
      add("div", "innerHTML", "<img src=x onerror='window.hacked = 1'>");
      const image = new Image();
      const imageFailed = new Promise((resolve) => { image.onerror = () => resolve(true); image.onload = () => resolve(false); });
      image.src = evil + "pixel.png";
      const fetchFailed = await fetch(evil).then(() => false, () => true);
      return { hacked: window.hacked, fetchFailed, imageFailed: await imageFailed, children: document.querySelectorAll("body > div > img").length };
    }, "http://evil.test/").catch((error) => ({ error: error.message }));
    assert.deepEqual(blocked, { hacked: undefined, fetchFailed: true, imageFailed: true, children: 0 });
  }, { mayBlock: true });

  await fresh("markdown becomes the elements it means", async (page) => {
    state.answer = () => "# Title\n\nSome **bold**, *it*, ***both***, ~~no~~, `a < b`, [link](https://example.org/a_(b)), snake_case_name, 2 * 3 * 4.\n\n" +
      "1. one\n   - inner\n2. two\n\n> quote\n> more\n\n| a | b |\n|---|:-:|\n| 1 | x\\|y |\n\n```py\nx = 'a' # c\n```\n\n---\n\nlast https://example.org/x.";
    await ask(page, "markdown");
    await settled(page);
    const body = page.locator(".assistant .body");
    const texts = (selector) => body.locator(selector).allInnerTexts();
    assert.deepEqual(await texts("h1"), ["Title"]);
    assert.deepEqual(await texts("p strong"), ["bold", "both"]);
    assert.deepEqual(await texts("p em"), ["it", "both"]);
    assert.deepEqual(await texts("p > code"), ["a < b"]);
    assert.deepEqual(await body.locator("a").evaluateAll((all) => all.map((a) => a.href)), ["https://example.org/a_(b)", "https://example.org/x"]);
    assert.match((await texts("p"))[0], /snake_case_name, 2 \* 3 \* 4\.$/);
    assert.deepEqual(await texts("ol > li > ul > li"), ["inner"]);
    assert.equal(await body.locator("ol > li").count(), 2);
    assert.deepEqual(await texts("blockquote p"), ["quote\nmore"]);
    assert.deepEqual(await texts("td"), ["1", "x|y"]);
    assert.deepEqual(await texts("pre .s, pre .c"), ["'a'", "# c"]);
    assert.equal(await body.locator("hr").count(), 1);
    assert.equal(await page.evaluate(() => document.querySelector(".assistant .body").lastChild.textContent), "last https://example.org/x.");
  });

  await fresh("text made to be slow to read does not hold the page up", async (page) => {
    const n = 20000;
    const texts = ["*a ".repeat(n), "[".repeat(n), "[a](".repeat(n), "`".repeat(n) + "a", "> ".repeat(n), "<http://a".repeat(n / 4), "_a_".repeat(n),
      "# " + "# ".repeat(n) + "x", "- ".repeat(n), "**a*_".repeat(n), "|".repeat(n) + "\n" + "|-".repeat(n), "```c\n" + "/* '".repeat(4000), " ".repeat(n) + "x\n" + "\t".repeat(n)];
    await page.route("**/v1/chat/completions", (route) => {
      const text = texts[Number(route.request().postDataJSON().messages.at(-1).content)];
      const event = { choices: [{ index: 0, delta: { content: text }, finish_reason: "stop" }] };
      return route.fulfill({ contentType: "text/event-stream", body: `data: ${JSON.stringify(event)}\n\ndata: [DONE]\n\n` });
    });
    for (let i = 0; i < texts.length; i++) {
      const start = Date.now();
      await page.click("#new");
      await ask(page, String(i));
      await page.waitForFunction(() => document.querySelector(".assistant .body")?.hasChildNodes());
      await settled(page);
      assert.ok(Date.now() - start < 12000, `${JSON.stringify(texts[i].slice(0, 12))}… took ${Date.now() - start} ms`);
    }
  });

  await fresh("reasoning has a block of its own that is closed at first", async (page) => {
    state.reasoning = "Let me think.";
    state.answer = () => "The answer.";
    await ask(page, "think");
    await settled(page);
    assert.equal(await lastAnswer(page), "The answer.");
    assert.equal(await page.locator(".reasoning").evaluate((node) => node.open), false);
    await page.click(".reasoning summary");
    assert.match(await page.locator(".reasoning").innerText(), /Let me think\./);
    await page.click(".assistant [aria-label=Retry]");
    await settled(page);
    assert.equal(state.requests[1].messages.length, 1, "reasoning or an old answer was sent back");
  });

  await fresh("errors are shown in place, and retry asks again", async (page) => {
    state.answer = () => "fine";
    for (const [change, words] of [[{ status_chat: 429, error: "64 requests wait already" }, /64 requests wait/],
      [{ status_chat: 400, error: "temperature: expected 0 to 2" }, /temperature: expected/], [{ cut: true, answer: () => "a b c d e f g h" }, /connection/]]) {
      Object.assign(state, initial, { delay_ms: 1 }, change);
      await page.click("#new");
      await ask(page, "hello");
      await settled(page);
      assert.match(await page.locator(".failure").innerText(), words);
      Object.assign(state, initial, { delay_ms: 1, answer: () => "fine" });
      await page.click(".failure button");
      await settled(page);
      assert.equal(await lastAnswer(page), "fine");
      assert.equal(await page.locator(".failure:visible").count(), 0);
    }
  });

  await fresh("an API key is asked for on 401, refused keys are said to be, and it is kept", async (page) => {
    Object.assign(state, { api_key: "secret", answer: () => "open" });
    await page.reload();
    await page.waitForSelector("#key-form:visible");
    await page.fill("#key", "wrong");
    await page.press("#key", "Enter");
    await page.waitForFunction(() => /refuses/.test(document.querySelector("#key-form label").textContent));
    await ask(page, "hello");
    await page.waitForSelector(".failure:visible");
    await page.fill("#key", "secret");
    await page.press("#key", "Enter");
    await page.waitForSelector("#key-form", { state: "hidden" });
    await settled(page);
    assert.equal(await lastAnswer(page), "open");
    await page.reload();
    await page.waitForFunction(() => document.querySelector("#model").textContent === "mock-model");
    assert.ok(await page.locator("#key-form").isHidden());
  });

  await fresh("while the server loads there is a notice, and a message waits for it", async (page) => {
    Object.assign(state, { status: 503, error: "the model is being loaded", answer: () => "here I am" });
    await page.reload();
    await page.waitForSelector("#notice:visible");
    await ask(page, "hello?");
    await page.waitForFunction(() => /sent as soon/.test(document.querySelector(".stats").textContent));
    state.status = 0;
    await settled(page);
    assert.equal(await lastAnswer(page), "here I am");
    await page.waitForSelector("#notice", { state: "hidden" });
  });

  await fresh("the view follows the answer, but not against the reader", async (page) => {
    Object.assign(state, { delay_ms: 10, answer: () => "A line of text.\n\n".repeat(300) });
    const gap = () => page.evaluate(() => { const m = document.querySelector("#messages"); return m.scrollHeight - m.scrollTop - m.clientHeight; });
    await ask(page, "long");
    await page.waitForFunction(() => document.querySelector("#messages").scrollTop > 300);
    assert.ok(await gap() < 60);
    await page.hover(".assistant .body");
    await page.mouse.wheel(0, -200);
    await page.waitForSelector("#latest:visible");
    const scrolled = () => page.evaluate(() => document.querySelector("#messages").scrollTop);
    let top = -1; // wheels scroll smoothly
    for (let now = await scrolled(); now !== top; now = await scrolled()) {
      top = now;
      await sleep(300);
    }
    const height = () => page.evaluate(() => document.querySelector("#messages").scrollHeight);
    const before = await height();
    await page.waitForFunction((it) => document.querySelector("#messages").scrollHeight > it, before);
    assert.equal(await scrolled(), top);
    await page.click("#latest");
    await page.waitForFunction(() => {
      const m = document.querySelector("#messages");
      return m.scrollHeight - m.scrollTop - m.clientHeight < 60;
    });
  });

  await fresh("two conversations are answered at once, and leaving one does not stop it", async (page) => {
    Object.assign(state, { delay_ms: 15, answer: (text) => (text + " ").repeat(60) });
    await ask(page, "alpha");
    await page.click("#new");
    await ask(page, "beta");
    await page.waitForFunction(() => document.querySelectorAll("#conversations .live").length === 2);
    await settled(page);
    await page.locator("#conversations .open", { hasText: "alpha" }).click();
    await settled(page);
    assert.equal((await lastAnswer(page)).trim().split(" ").length, 60);
  });

  await fresh("the keyboard reaches everything, and focus can be seen", async (page) => {
    const seen = new Set();
    await page.click(".brand");
    for (let i = 0; i < 14; i++) {
      await page.keyboard.press("Tab");
      seen.add(await page.evaluate(() => document.activeElement.id));
      const ring = await page.evaluate(() => {
        const node = document.activeElement.id === "prompt" ? document.activeElement.parentElement : document.activeElement;
        return node === document.body || getComputedStyle(node).outlineStyle !== "none" || document.activeElement.id === "prompt";
      });
      assert.ok(ring, "no focus ring on " + [...seen].at(-1));
    }
    for (const id of ["tab-chat", "theme", "settings-open", "new", "prompt"]) assert.ok(seen.has(id), id + " is not reached: " + [...seen]);
    const unnamed = await page.evaluate(() => [...document.querySelectorAll("button, input, textarea, select")]
      .filter((node) => !(node.ariaLabel || node.textContent.trim() || node.labels?.length)).map((node) => node.outerHTML));
    assert.deepEqual(unnamed, []);
  });

  await fresh("light and dark follow the system until the button says otherwise", async (page) => {
    const becomes = (scheme) => page.waitForFunction(
      (it) => getComputedStyle(document.documentElement).colorScheme === it, scheme);
    await becomes("light");
    await page.emulateMedia({ colorScheme: "dark" });
    await becomes("dark");
    await page.click("#theme");
    await becomes("light");
    await page.reload();
    await becomes("light");
  });
}

/* ---- Run ---- */
const mock = createMock();
const mockUrl = await mock.listen();
const server = options.mock ? null : await startProgram(options.program);
if (options.screenshots) {
  await takeScreenshots(browser, server?.url ?? mockUrl, options.screenshots);
} else {
  if (server) await commonCases(server.url, "serve");
  else console.log("without `nanovllm serve`: on the mock alone");
  if (!server) await commonCases(mockUrl, "mock");
  await mockCases(mock, mockUrl);
}
await browser.close();
mock.close();
await server?.close();
if (!options.screenshots) console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed ? 1 : 0;
