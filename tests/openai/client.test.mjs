// client.test.mjs URL STRICT_URL [no-embeddings]: the openai package against a server of the built-in
// model at URL, and one at STRICT_URL that wants the key "secret", runs one sequence and lets one wait.
// With no-embeddings they must refuse to make any.
import OpenAI from 'openai';
import assert from 'node:assert/strict';

const [url, strictUrl, option] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'any', maxRetries: 0, timeout: 120000 });
const strict = (apiKey) =>
  new OpenAI({ baseURL: `${strictUrl}/v1`, apiKey, maxRetries: 0, timeout: 120000 });
const model = (await client.models.list()).data[0].id;
const prompt = 'Once upon a time';
const messages = [{ role: 'user', content: 'Hello! Tell me a story.' }];
const greedy = { model, temperature: 0, max_tokens: 24 };
const complete = (fields) => client.completions.create({ ...greedy, prompt, ...fields });
const chat = (fields) => client.chat.completions.create({ ...greedy, messages, ...fields });

let numPassed = 0, numFailed = 0;
async function test(name, body) {
  try {
    await body();
    numPassed++;
  } catch (error) {
    numFailed++;
    console.log(`FAIL: ${name}: ${error.stack ?? error}`);
  }
}

async function refused(promise, kind, fields = {}) {
  const error = await promise.then(() => assert.fail('it was not refused'), (e) => e);
  assert.ok(error instanceof kind, `${error.constructor.name}: ${error.message}`);
  for (const [name, value] of Object.entries(fields)) assert.equal(error[name], value, name);
  assert.ok(error.message.length > 5);
  return error;
}

async function collect(stream) {
  const events = [];
  for await (const event of await stream) events.push(event);
  return events;
}

const textOf = (events) => events.map((e) => e.choices[0]?.text ?? '').join('');
const contentOf = (events) => events.map((e) => e.choices[0]?.delta.content ?? '').join('');

async function post(path, body) {
  const answer = await fetch(url + path, { method: 'POST', body: JSON.stringify(body) });
  assert.equal(answer.status, 200);
  return answer.json();
}

async function metric(name) {
  const page = await (await fetch(`${url}/metrics`)).text();
  return Number(page.match(new RegExp(`^nanovllm_${name}\\{[^}]*\\} (.*)$`, 'm'))[1]);
}

async function becomes(name, value, withinMs) {
  const end = Date.now() + withinMs;
  while ((await metric(name)) !== value) {
    assert.ok(Date.now() < end, `${name} is ${await metric(name)} after ${withinMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

// ---- Models, completions

await test('models', async () => {
  const one = await client.models.retrieve(model);
  assert.equal(one.id, model);
  assert.equal(one.object, 'model');
  await refused(client.models.retrieve('other'), OpenAI.NotFoundError, { code: 'model_not_found' });
});

await test('completion', async () => {
  const answer = await complete();
  assert.equal(answer.object, 'text_completion');
  assert.equal(answer.model, model);
  assert.ok(answer.choices[0].text.length > 20);
  assert.equal(answer.choices[0].finish_reason, 'length');
  assert.equal(answer.usage.completion_tokens, 24);
  assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + 24);
});

await test('kinds of prompts', async () => {
  const { tokens } = await post('/tokenize', { prompt });
  const text = (await complete()).choices[0].text;
  const other = (await complete({ prompt: 'The dog' })).choices[0].text;
  assert.equal((await complete({ prompt: tokens })).choices[0].text, text);
  const list = await complete({ prompt: [prompt, 'The dog'] });
  assert.deepEqual(list.choices.map((c) => c.text), [text, other]);
  const ids = await complete({ prompt: [tokens, tokens] });
  assert.deepEqual(ids.choices.map((c) => [c.index, c.text]), [[0, text], [1, text]]);
  assert.equal(ids.usage.prompt_tokens, 2 * tokens.length);
});

await test('streamed completion', async () => {
  const text = (await complete()).choices[0].text;
  const events = await collect(complete({ stream: true }));
  assert.equal(textOf(events), text);
  assert.ok(events.length > 10);
  assert.equal(events.at(-1).choices[0].finish_reason, 'length');
  assert.equal(new Set(events.map((e) => e.id)).size, 1);
  assert.ok(events.every((e) => !e.usage));
});

await test('usage of a stream', async () => {
  for (const create of [complete, chat]) {
    const events = await collect(create({ stream: true, stream_options: { include_usage: true } }));
    const last = events.pop();
    assert.deepEqual(last.choices, []);
    assert.ok(last.usage.completion_tokens > 0);
    assert.ok(events.every((e) => e.usage === null && e.choices.length === 1));
  }
});

await test('echo, n, best_of', async () => {
  const echoed = await complete({ echo: true });
  assert.ok(echoed.choices[0].text.startsWith(prompt));
  const many = await complete({ n: 3, temperature: 1, seed: 5 });
  assert.deepEqual(many.choices.map((c) => c.index), [0, 1, 2]);
  assert.equal(new Set(many.choices.map((c) => c.text)).size, 3);
  assert.equal(many.usage.completion_tokens, 72);
});

await test('n in a stream', async () => {
  const whole = await chat({ n: 3, temperature: 1, seed: 5 });
  const texts = ['', '', ''];
  for (const { choices } of await collect(chat({ n: 3, temperature: 1, seed: 5, stream: true })))
    for (const choice of choices) texts[choice.index] += choice.delta.content ?? '';
  assert.deepEqual(texts, whole.choices.map((c) => c.message.content));
});

await test('stop', async () => {
  const { text } = (await complete()).choices[0];
  const word = text.split(' ')[4];
  for (const stop of [word, ['never said', word]]) {
    const { choices } = await complete({ stop });
    assert.equal(choices[0].text, text.slice(0, text.indexOf(word)));
    assert.equal(choices[0].finish_reason, 'stop');
  }
  assert.equal(textOf(await collect(complete({ stop: word, stream: true }))),
               text.slice(0, text.indexOf(word)));
});

await test('seed', async () => {
  const texts = [];
  for (const seed of [7, 7, 8])
    texts.push((await complete({ seed, temperature: 1 })).choices[0].text);
  assert.equal(texts[0], texts[1]);
  assert.notEqual(texts[0], texts[2]);
});

await test('log-probabilities of completions', async () => {
  const { choices: [{ text, logprobs }], usage } = await complete({ logprobs: 3 });
  assert.equal(logprobs.tokens.length, usage.completion_tokens);
  assert.equal(logprobs.tokens.join(''), text);
  assert.equal(logprobs.text_offset.length, logprobs.tokens.length);
  for (const [i, value] of logprobs.token_logprobs.entries()) {
    assert.ok(value <= 0);
    const best = Math.max(...Object.values(logprobs.top_logprobs[i]));
    assert.ok(Math.abs(best - value) < 1e-6, 'greedy takes the likeliest');
  }
  const events = await collect(complete({ logprobs: 3, stream: true }));
  const streamed = events.flatMap((e) => e.choices[0].logprobs?.token_logprobs ?? []);
  assert.deepEqual(streamed, logprobs.token_logprobs);
});

await test('cached tokens, cache_salt', async () => {
  const long = Array.from({ length: 200 }, (_, i) => 50 + ((i * 7) % 150));
  const cached = async (fields) =>
    (await complete({ prompt: long, max_tokens: 2, ...fields })).usage.prompt_tokens_details.cached_tokens;
  assert.equal(await cached(), 0);
  assert.ok((await cached()) >= 128);
  assert.equal(await cached({ cache_salt: 'mine' }), 0);
  assert.ok((await cached({ cache_salt: 'mine' })) >= 128);
});

// ---- Chat

await test('chat', async () => {
  const answer = await chat();
  assert.equal(answer.object, 'chat.completion');
  assert.equal(answer.choices[0].message.role, 'assistant');
  assert.ok(answer.choices[0].message.content.length > 5);
  const parts = [{ role: 'user', content: [{ type: 'text', text: messages[0].content }] }];
  assert.equal((await chat({ messages: parts })).choices[0].message.content,
               answer.choices[0].message.content);
});

await test('streamed chat', async () => {
  const { content } = (await chat()).choices[0].message;
  const events = await collect(chat({ stream: true }));
  assert.equal(events[0].choices[0].delta.role, 'assistant');
  assert.equal(contentOf(events), content);
  assert.ok(['stop', 'length'].includes(events.at(-1).choices[0].finish_reason));
  const runner = client.chat.completions.stream({ ...greedy, messages });
  assert.equal((await runner.finalChatCompletion()).choices[0].message.content, content);
});

await test('log-probabilities of chat', async () => {
  const { choices: [{ message, logprobs }] } = await chat({ logprobs: true, top_logprobs: 2 });
  const words = logprobs.content.filter((t) => !t.token.startsWith('<|'));
  assert.equal(words.map((t) => t.token).join('').trim(), message.content.trim());
  for (const token of logprobs.content) {
    assert.ok(token.logprob <= 0);
    assert.equal(token.top_logprobs.length, 2);
    assert.ok(token.top_logprobs[0].logprob >= token.top_logprobs[1].logprob);
    assert.equal(Buffer.from(token.bytes).toString(), token.token);
  }
});

await test('max_completion_tokens', async () => {
  const answer = await client.chat.completions.create({ model, messages, max_completion_tokens: 2 });
  assert.equal(answer.usage.completion_tokens, 2);
  assert.equal(answer.choices[0].finish_reason, 'length');
});

await test('fields of vLLM, and of nobody', async () => {
  const answer = await complete({
    min_tokens: 30, max_tokens: 40, ignore_eos: true, top_k: 5, min_p: 0.01, repetition_penalty: 1.1,
    stop_token_ids: [3], priority: -1, prompt_logprobs: 1, return_token_ids: true,
    no_such_field: { at: 'all' }, user: 'somebody', metadata: { a: 'b' },
  });
  assert.ok(answer.usage.completion_tokens >= 30);
  assert.equal(answer.choices[0].token_ids.length, answer.usage.completion_tokens);
  assert.equal(answer.choices[0].prompt_logprobs[0], null);
  const thought = await chat({ chat_template_kwargs: { enable_thinking: false } });
  assert.ok(thought.choices[0].message.content);
});

// ---- Errors

await test('bad requests', async () => {
  const bad = (fields, param, create = complete) =>
    refused(create(fields), OpenAI.BadRequestError, { status: 400, param, type: 'invalid_request_error' });
  await bad({ temperature: 'hot' }, 'temperature');
  await bad({ n: 0 }, 'n');
  await bad({ max_tokens: 1.5 }, 'max_tokens');
  await bad({ stop: 5 }, 'stop');
  await bad({ prompt: { a: 1 } }, 'prompt');
  await bad({ prompt: [1, 99999999] }, 'prompt');
  await bad({ logprobs: 1000 }, 'logprobs');
  await bad({ messages: 'Hello' }, 'messages', chat);
  await bad({ messages: [] }, 'messages', chat);
  await bad({ top_logprobs: 2 }, 'top_logprobs', chat);
  await bad({ stream: true, stream_options: { include_usage: 'yes' } },
            'stream_options.include_usage', chat);
  await refused(complete({ prompt: 'dog '.repeat(5000) }), OpenAI.BadRequestError,
                { code: 'context_length_exceeded' });
});

await test('a model that is not there', () =>
  refused(complete({ model: 'gpt-x' }), OpenAI.NotFoundError,
          { status: 404, code: 'model_not_found', param: 'model' }));

if (option === 'no-embeddings') {
  console.log('embeddings: their refusal is expected');
  await test('no embeddings', async () => {
    const { message } = await refused(client.embeddings.create({ model, input: 'Hello' }),
                                      OpenAI.BadRequestError, { status: 400 });
    assert.match(message, /hidden states/);
  });
} else await test('embeddings', async () => {
  const input = ['Once upon a time', 'there was a dog'];
  const packed = await client.embeddings.create({ model, input }); // the package asks for base64
  const plain = await client.embeddings.create({ model, input, encoding_format: 'float' });
  assert.equal(packed.object, 'list');
  assert.equal(packed.data.length, 2);
  assert.ok(packed.usage.prompt_tokens > 2);
  assert.equal(packed.usage.total_tokens, packed.usage.prompt_tokens);
  for (const i of [0, 1]) {
    assert.equal(plain.data[i].index, i);
    assert.deepEqual(Array.from(packed.data[i].embedding), plain.data[i].embedding.map(Math.fround));
    const length = Math.hypot(...plain.data[i].embedding);
    assert.ok(Math.abs(length - 1) < 1e-5, `its length is ${length}`);
  }
  await refused(client.embeddings.create({ model, input: '', dimensions: 3 }), OpenAI.BadRequestError,
                { status: 400, param: 'dimensions' });
});

await test('keys', async () => {
  await refused(strict('wrong').models.list(), OpenAI.AuthenticationError, { status: 401 });
  assert.equal((await strict('secret').models.list()).data.length, 1);
});

await test('too many requests', async () => {
  const busy = strict('secret');
  const long = { model, prompt, max_tokens: 600, ignore_eos: true };
  const results = await Promise.allSettled(
    Array.from({ length: 12 }, () => busy.completions.create(long)));
  const failed = results.filter((r) => r.status === 'rejected').map((r) => r.reason);
  assert.ok(failed.length >= 6 && failed.length < 12, `${failed.length} of 12 were refused`);
  for (const error of failed) {
    assert.ok(error instanceof OpenAI.RateLimitError, String(error));
    assert.ok(Number(error.headers.get('retry-after')) >= 1);
  }
});

await test('a client that waits and tries again', async () => {
  const patient = new OpenAI({ baseURL: `${strictUrl}/v1`, apiKey: 'secret', maxRetries: 20 });
  const results = await Promise.all(
    Array.from({ length: 4 }, () => patient.completions.create({ model, prompt, max_tokens: 200 })));
  assert.equal(results.length, 4);
});

// ---- Aborts and load

await test('an abort in mid-stream', async () => {
  for (const create of [complete, chat]) {
    const stream = await create({ max_tokens: 900, ignore_eos: true, n: 4, temperature: 1, stream: true });
    let num = 0;
    for await (const event of stream) {
      assert.ok(event.id);
      if (++num === 8) break;
    }
    assert.equal(num, 8);
    stream.controller.abort();
    await becomes('kv_cache_blocks_used', 0, 1000);
    await becomes('num_requests_running', 0, 1000);
  }
});

await test('an abort of an answer that is not streamed', async () => {
  const controller = new AbortController();
  const promise = client.completions.create(
    { ...greedy, prompt, max_tokens: 900, ignore_eos: true, n: 16, temperature: 1 },
    { signal: controller.signal });
  setTimeout(() => controller.abort(), 50);
  await assert.rejects(promise, OpenAI.APIUserAbortError);
  await becomes('num_requests_running', 0, 1000);
});

await test('50 requests at once', async () => {
  const text = (await complete()).choices[0].text;
  const content = (await chat()).choices[0].message.content;
  const kinds = [
    async () => assert.equal((await complete()).choices[0].text, text),
    async () => assert.equal(textOf(await collect(complete({ stream: true }))), text),
    async () => assert.equal((await chat()).choices[0].message.content, content),
    async () => assert.equal(contentOf(await collect(chat({ stream: true }))), content),
    () => refused(complete({ top_p: 7 }), OpenAI.BadRequestError, { param: 'top_p' }),
  ];
  await Promise.all(Array.from({ length: 50 }, (_, i) => kinds[i % kinds.length]()));
});

console.log(`${numPassed} passed, ${numFailed} failed`);
process.exit(numFailed ? 1 : 0);
