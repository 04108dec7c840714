// The pictures of docs/: chat, server tab under load, phone.
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const QUESTION = "Tell me a story about a small dog.";

async function chat(browser, url, path, options) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  await page.goto(url);
  for (const text of [QUESTION, "And what did the dog do then?"]) {
    await page.fill("#prompt", text);
    await page.press("#prompt", "Enter");
    await page.waitForSelector("#send[aria-label=Send]", { timeout: 60000 });
  }
  await sleep(200);
  await page.screenshot({ path });
  await context.close();
}

/* Clients that come and go for as long as the charts are wide. */
async function load(url, seconds) {
  const { id } = (await (await fetch(url + "v1/models")).json()).data[0];
  const end = Date.now() + 1000 * seconds;
  const client = async (number) => {
    while (Date.now() < end) {
      await sleep(300 + 500 * (number % 5) + 1500 * (1 + Math.sin(Date.now() / 9000)));
      const body = { model: id, stream: true, max_tokens: 60 + 40 * (number % 4), ignore_eos: true,
        messages: [{ role: "system", content: "You tell stories to small children." }, { role: "user", content: QUESTION }] };
      await (await fetch(url + "v1/chat/completions", { method: "POST", headers: { "Content-Type": "application/json" },
        body: JSON.stringify(body) })).text();
    }
  };
  await Promise.all(Array.from({ length: 12 }, (_, i) => client(i)));
}

export async function takeScreenshots(browser, url, folder) {
  const desktop = { viewport: { width: 1200, height: 760 } };
  await chat(browser, url, folder + "/web-chat.png", { ...desktop, colorScheme: "light" });
  await chat(browser, url, folder + "/web-chat-dark.png", { ...desktop, colorScheme: "dark" });
  await chat(browser, url, folder + "/web-phone.png", { viewport: { width: 360, height: 720 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true });
  const context = await browser.newContext({ ...desktop, colorScheme: "dark" });
  const page = await context.newPage();
  await page.goto(url);
  await page.click("#tab-server");
  const loaded = load(url, 150);
  await sleep(140000);
  await page.screenshot({ path: folder + "/web-server.png" });
  await loaded;
  await context.close();
}
