// A server with the routes that the page uses and answers that a test chooses.
//   node tests/web/mock_server.mjs [PORT]     serves the page to a person who works on it
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";
import { page, policy } from "./policy.mjs";

const STORY = `Once upon a time a small dog lived by the sea. Every morning it **ran along the beach** and looked for something new.

One day it found a bottle with a letter in it:

> Whoever finds this, please write back.

The dog could not write, so it did three things:

1. It brought the bottle to the old fisherman.
2. It waited until he had read the letter *twice*.
3. It carried his answer back to the waves.

\`\`\`c
/* Which wave takes the bottle home? */
int find_wave(const struct sea *sea, double wind)
{
    for (int i = 0; i < sea->num_waves; i++)
        if (sea->waves[i].speed > 2.5 * wind)
            return i;
    return -1; // none today
}
\`\`\`

| Day | Bottles | Letters |
|:---|---:|---:|
| Monday | 3 | 1 |
| Tuesday | 0 | 0 |
`;

export function createMock() {
  const state = {
    answer: () => STORY, // last message's text → the answer's text
    reasoning: "",
    delay_ms: 25, // between two pieces
    status: 0, // of every route of the API but 0: an error
    status_chat: 0,
    error: "the mock was told to fail",
    cut: false, // ends the connection in mid-answer
    api_key: "",
    finish: "stop",
    requests: [], // bodies of chat requests
    aborted: 0,
  };
  const count = { running: 0, prompt: 0, generation: 0, queries: 0, hits: 0, first: [], inter: [], whole: [], stop: 0, length: 0, abort: 0 };
  const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

  function sendJson(response, status, body, headers = {}) {
    response.writeHead(status, { "Content-Type": "application/json", ...headers });
    response.end(JSON.stringify(body));
  }

  const fail = (response, status) =>
    sendJson(response, status, { error: { message: state.error, type: "error", code: status } }, { "Retry-After": "1" });

  async function chat(response, request) {
    const events = (event) => response.write("data: " + JSON.stringify({ id: "chatcmpl-1", object: "chat.completion.chunk", ...event }) + "\n\n");
    const delta = (it, finish_reason = null) => events({ choices: [{ index: 0, delta: it, finish_reason }] });
    const pieces = (text) => text.match(/\s*\S+|\s+$/g) ?? [];
    const started = Date.now();
    const prompt = request.messages.reduce((sum, { content }) => sum + content.length, 8);
    let tokens = 0, last = started, gone = false;
    response.on("close", () => { gone = !response.writableFinished; });
    count.running++;
    count.prompt += prompt;
    count.queries += prompt;
    count.hits += Math.floor(prompt / 16) * 12;
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    delta({ role: "assistant", content: "" });
    const all = [...pieces(state.reasoning).map((text) => ({ reasoning_content: text })),
      ...pieces(state.answer(request.messages.at(-1).content)).map((text) => ({ content: text }))];
    for (const piece of all) {
      await sleep(state.delay_ms);
      if (gone || (state.cut && tokens === 5)) break;
      delta(piece);
      (tokens++ ? count.inter : count.first).push((Date.now() - last) / 1000);
      last = Date.now();
      count.generation++;
    }
    count.running--;
    count.whole.push((Date.now() - started) / 1000);
    if (gone) {
      state.aborted++;
      count.abort++;
      return;
    }
    if (state.cut) {
      response.destroy();
      return;
    }
    count[state.finish]++;
    delta({}, state.finish);
    if (request.stream_options?.include_usage) {
      events({ choices: [], usage: { prompt_tokens: prompt, completion_tokens: tokens, total_tokens: prompt + tokens,
        prompt_tokens_details: { cached_tokens: Math.floor(prompt / 16) * 12 } } });
    }
    response.end("data: [DONE]\n\n");
  }

  function metrics() {
    const lines = [];
    const put = (name, value, labels = "") => lines.push(`nanovllm_${name}{model_name="mock"${labels}} ${value}`);
    const histogram = (name, values) => {
      for (const bound of [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]) {
        put(name + "_bucket", values.filter((it) => it <= bound).length, `,le="${bound}"`);
      }
      put(name + "_bucket", values.length, `,le="+Inf"`);
      put(name + "_count", values.length);
    };
    lines.push("# HELP nanovllm_num_requests_running Sequences.", "# TYPE nanovllm_num_requests_running gauge");
    put("num_requests_running", count.running);
    put("num_requests_waiting", Math.max(0, count.running - 4));
    put("kv_cache_usage_perc", Math.min(1, count.running * 0.13));
    put("kv_cache_blocks", 100);
    put("kv_cache_blocks_used", Math.min(100, count.running * 13));
    put("prefix_cache_queries_total", count.queries);
    put("prefix_cache_hits_total", count.hits);
    put("num_preemptions_total", 0);
    put("prompt_tokens_total", count.prompt);
    put("generation_tokens_total", count.generation);
    for (const reason of ["stop", "length", "abort"]) put("request_success_total", count[reason], `,finished_reason="${reason}"`);
    histogram("time_to_first_token_seconds", count.first);
    histogram("inter_token_latency_seconds", count.inter);
    histogram("e2e_request_latency_seconds", count.whole);
    return lines.join("\n") + "\n";
  }

  const server = createServer(async (request, response) => {
    let body = "";
    for await (const part of request) body += part;
    if (request.url === "/") {
      response.writeHead(200, { "Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": policy });
      response.end(page);
    } else if (state.status) {
      fail(response, state.status);
    } else if (state.api_key && request.headers.authorization !== "Bearer " + state.api_key) {
      sendJson(response, 401, { error: { message: "wrong API key", type: "authentication_error", code: 401 } });
    } else if (request.url === "/v1/models") {
      sendJson(response, 200, { object: "list", data: [{ id: "mock-model", object: "model" }] });
    } else if (request.url === "/metrics") {
      response.end(metrics());
    } else if (request.url === "/v1/chat/completions") {
      state.requests.push(JSON.parse(body));
      if (state.status_chat) fail(response, state.status_chat);
      else await chat(response, JSON.parse(body));
    } else {
      sendJson(response, 404, { error: { message: request.url + ": no such path", type: "not_found_error", code: 404 } });
    }
  });

  return {
    state,
    async listen(port = 0) {
      await new Promise((resolve) => server.listen(port, "127.0.0.1", resolve));
      return "http://127.0.0.1:" + server.address().port + "/";
    },
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  console.log(await createMock().listen(Number(process.argv[2] ?? 8000)));
}
