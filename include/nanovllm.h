/* nanovllm.h: the public interface of libnanovllm, an LLM inference engine for CPUs.
 *
 * The handles:
 *
 *   nano_model          an opened model file: hyper-parameters, tokenizer, weights as stored on disk
 *   nano_engine         a model ready to run: packed weights, KV blocks, scheduler, its own thread
 *   nano_tokenizer      borrowed from a model: text <-> token ids
 *   nano_chat_template  a model's way of writing a conversation as a prompt
 *   nano_chat_parser    an answer, as it streams, split into reasoning and content
 *   nano_imatrix        which columns of a model's weights matter for a text, for quantisers
 *
 * A client opens a model, creates an engine on it and submits requests. Each request gets a callback
 * on the engine's thread whenever it has new tokens and once when it is finished.
 *
 * Conventions. Functions that can fail return an enum nano_status and take a caller-owned struct
 * nano_error last (may be NULL); NANO_OK is 0. Out-parameters are NULL or unchanged on failure.
 * The library never prints, exits or aborts. Parameter structs start from their *_default()
 * function, so a field added later keeps its default in old code. Strings are UTF-8. Text and
 * arrays given to a function are copied; what a function lends says how long it lives.
 */
#ifndef NANOVLLM_H
#define NANOVLLM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define NANO_API __attribute__((visibility("default")))
#else
#define NANO_API
#endif

/* ---- Errors ---------------------------------------------------------------------------------- */

enum nano_status {
    NANO_OK = 0,
    NANO_ERR_INVALID_ARGUMENT, /* the caller's parameters are wrong */
    NANO_ERR_IO,               /* a file cannot be read or written */
    NANO_ERR_FORMAT,           /* a file is damaged or is not what it should be */
    NANO_ERR_UNSUPPORTED,      /* well-formed, but this build cannot run it */
    NANO_ERR_NO_MEMORY,        /* the system has no memory left, or the budget is too small */
    NANO_ERR_QUEUE_FULL,       /* max_num_queued_reqs requests are waiting already */
    NANO_ERR_INTERNAL,         /* a bug */
    NANO_ERR_CANCELLED         /* the caller's callback asked for it */
};

struct nano_error {
    enum nano_status status;
    char message[512]; /* one line that names the thing and the expectation; "" when status is NANO_OK */
};

/* A short constant name of a status, e.g. "invalid argument". */
NANO_API const char *nano_status_name(enum nano_status status);

/* The library's version, e.g. "0.1.0". */
NANO_API const char *nano_version(void);

enum nano_log_level { NANO_LOG_ERROR, NANO_LOG_WARN, NANO_LOG_INFO, NANO_LOG_DEBUG };
typedef void (*nano_log_fn)(enum nano_log_level level, const char *message, void *user_data);

/* Sends the library's messages (none are needed to use it) to `fn`; NULL, the default, drops them.
 * Set it before anything else: it is not synchronised with running engines. */
NANO_API void nano_set_log(nano_log_fn fn, void *user_data);

/* Releases memory that the library handed over (encoded tokens, decoded text); NULL is fine. */
NANO_API void nano_free(void *memory);

/* ---- Models ---------------------------------------------------------------------------------- */

typedef struct nano_model nano_model;
typedef struct nano_tokenizer nano_tokenizer;

struct nano_model_params {
    /* Format such as "q8_0" or "q4_0" that matrices are quantised to while an engine packs them, where
     * that makes them smaller; NULL: as stored. Nothing is written, and the files stay mapped. */
    const char *quantization;
};
NANO_API struct nano_model_params nano_model_params_default(void);

/* Opens a GGUF file (any part of a split one), a folder with config.json and safetensors as Hugging
 * Face's tools download it, or an ONNX decoder: its file, or a folder with one and no safetensors. The
 * files are mapped, not read; only their headers are checked here, tensors when an engine binds them.
 * `path` NULL opens the built-in model. A folder, or a file, with only a tokenizer opens as a model
 * without weights. */
NANO_API enum nano_status nano_model_open(nano_model **out, const char *path, struct nano_error *err);
NANO_API enum nano_status nano_model_open_with(nano_model **out, const char *path,
                                               const struct nano_model_params *params,
                                               struct nano_error *err);

/* A model with random weights of a named shape and format, made in memory; `spec` is "SHAPE:FORMAT",
 * e.g. "qwen2-0.5b:q4_0". Speed does not depend on the values, so it measures a machine without a
 * download. Shapes: qwen2-0.5b qwen3-0.6b qwen35-0.8b mamba2-130m llama-1b qwen3-4b llama-8b
 * moe-8x2 (8 experts, of which 2 are used). */
NANO_API enum nano_status nano_model_open_synthetic(nano_model **out, const char *spec, uint64_t seed,
                                                    struct nano_error *err);

/* Writes the model as one GGUF v3 file that other engines load too. */
NANO_API enum nano_status nano_model_save_gguf(const nano_model *model, const char *path,
                                               struct nano_error *err);

/* Engines made from the model must be destroyed first. */
NANO_API void nano_model_close(nano_model *model);

struct nano_model_info {
    const char *path;         /* as given; "" for a model made in memory */
    const char *name;         /* general.name or "" */
    const char *architecture; /* "llama", "qwen2", … */
    const char *quantization; /* the format that most weight bytes are in, e.g. "Q4_0" */
    const char *chat_template; /* Jinja source or NULL */
    uint64_t num_params;
    uint64_t weight_bytes; /* of all tensors as stored */
    int64_t vocab_size, hidden_size, num_layers, num_heads, num_kv_heads, head_dim;
    int64_t intermediate_size, context_length;
    bool runnable; /* false: a vocabulary-only file, or no model (an importance matrix) */
};

/* All pointers in it live as long as the model. */
NANO_API const struct nano_model_info *nano_model_get_info(const nano_model *model);

/* The model's tokenizer, borrowed; NULL with a message in err when the file has none or its kind
 * is unknown. */
NANO_API const nano_tokenizer *nano_model_get_tokenizer(const nano_model *model, struct nano_error *err);

/* Metadata entry `index` in file order: key and printed value ("…" marks what was cut). Both live
 * until the next call on this model from any thread. False past the end. */
NANO_API bool nano_model_get_metadata(const nano_model *model, size_t index, const char **key,
                                      const char **type, const char **value);

struct nano_tensor_info {
    const char *name, *type;
    int num_dims;
    int64_t dims[4]; /* dims[0] is the contiguous one, as in GGUF */
    uint64_t num_bytes;
};

/* Tensor `index` in file order. False past the end. */
NANO_API bool nano_model_get_tensor(const nano_model *model, size_t index, struct nano_tensor_info *out);

/* The model's program (its list of ops), one op per line, as the runners execute it. The caller
 * releases *out with nano_free. */
NANO_API enum nano_status nano_model_print_program(const nano_model *model, char **out,
                                                   struct nano_error *err);

/* Name `index` of the architectures that this build runs, as general.architecture of a GGUF file says
 * it; NULL past the end. */
NANO_API const char *nano_architecture_name(size_t index);

/* ---- Quantising ------------------------------------------------------------------------------ */

/* Name `index` of the types that models can be quantised to, from many bits to few; NULL past the
 * end. */
NANO_API const char *nano_quantize_type_name(size_t index);

/* Gives tensors a format of the caller's choice: the first rule whose pattern, a regular expression
 * (without regard to case), is found in the name counts. */
struct nano_quantize_rule {
    const char *pattern;
    const char *format; /* "Q6_K", "F16", … */
};

/* News of one tensor; everything in it lives during the callback. */
struct nano_quantize_progress {
    size_t index, num_tensors;
    const char *name, *from, *to; /* to: its new format */
    int num_dims;
    int64_t dims[4];
    uint64_t from_bytes, to_bytes;    /* of the tensor, as stored before and after */
    uint64_t done_bytes, total_bytes; /* of all tensors, as stored before */
    bool is_fallback; /* its rows are no whole number of blocks of the format that it should have */
    bool is_done;     /* the last call for this tensor */
};

/* False ends it with NANO_ERR_CANCELLED. */
typedef bool (*nano_quantize_fn)(const struct nano_quantize_progress *progress, void *user_data);

struct nano_quantize_params {
    const char *type; /* "Q4_K_M", …; "COPY": every tensor keeps its format */
    int num_threads;  /* 0: as many as this process may use */
    bool dry_run;     /* decides and reports, writes nothing */
    const char *importance_path; /* how much each column of each matrix matters, or NULL */
    const struct nano_quantize_rule *rules;
    int num_rules;
    const char *token_embedding_format, *output_format; /* NULL: the type's choice */
    bool leave_output;     /* output.weight keeps its format */
    bool pure;             /* no mix: all matrices get the type's main format */
    bool allow_requantize; /* take matrices that are quantised already, which loses quality */
    nano_quantize_fn on_progress; /* on the calling thread, or NULL; with dry_run once per tensor */
    void *user_data;
};
NANO_API struct nano_quantize_params nano_quantize_params_default(void);

struct nano_quantize_result {
    uint64_t num_params, from_bytes, to_bytes; /* of the tensors */
    size_t num_tensors, num_converted, num_fallbacks;
    /* With dry_run: a tensor that cannot be quantised without an importance matrix, or NULL; lives
     * as long as the model. */
    const char *needs_importance;
};

/* Writes the model as a GGUF file of another type, as llama.cpp's llama-quantize would: the same
 * format for every tensor. The file appears at `path` when it is complete; on failure what was there
 * before is there still. Memory: a few MiB per thread. `out` may be NULL. */
NANO_API enum nano_status nano_model_quantize(const nano_model *model, const char *path,
                                              const struct nano_quantize_params *params,
                                              struct nano_quantize_result *out,
                                              struct nano_error *err);

/* ---- Tokenizers ------------------------------------------------------------------------------ */

enum nano_encode_flags {
    NANO_ENCODE_ADD_SPECIAL = 1,  /* BOS/EOS as the model's file asks for */
    NANO_ENCODE_PARSE_SPECIAL = 2 /* "<|im_start|>" in the text becomes the control token */
};

/* Encodes `num_bytes` bytes of text (invalid UTF-8 is taken as bytes). The caller releases
 * *token_ids with nano_free; it may be called from several threads at once. */
NANO_API enum nano_status nano_tokenizer_encode(const nano_tokenizer *tokenizer, const char *text,
                                                size_t num_bytes, unsigned flags,
                                                int32_t **token_ids, size_t *num_tokens,
                                                struct nano_error *err);

/* Decodes tokens to bytes, zero-terminated; the bytes are what the tokens stand for and may be
 * invalid UTF-8. `skip_special` leaves control tokens out. Release *text with nano_free. */
NANO_API enum nano_status nano_tokenizer_decode(const nano_tokenizer *tokenizer,
                                                const int32_t *token_ids, size_t num_tokens,
                                                bool skip_special, char **text, size_t *num_bytes,
                                                struct nano_error *err);

/* The bytes of one token as the decoder emits it in the middle of a text; borrowed, not terminated.
 * Control tokens give their name. False for an id outside the vocabulary. */
NANO_API bool nano_tokenizer_get_piece(const nano_tokenizer *tokenizer, int32_t token_id,
                                       const char **bytes, size_t *num_bytes);

struct nano_tokenizer_info {
    const char *kind; /* "bpe", "spm", "wordpiece", "unigram" */
    const char *pre;  /* pre-tokenizer, e.g. "llama-bpe"; "" where there is none */
    int32_t vocab_size;
    int32_t bos_token_id, eos_token_id, eot_token_id, unk_token_id, pad_token_id; /* -1: none */
    bool add_bos, add_eos;
};
NANO_API void nano_tokenizer_get_info(const nano_tokenizer *tokenizer, struct nano_tokenizer_info *out);

/* How many tokens a text of that many bytes has at least, whatever stands in it: refuses what is much
 * too long without encoding it. */
NANO_API size_t nano_tokenizer_min_tokens(const nano_tokenizer *tokenizer, size_t num_bytes);

/* True for tokens that end a generation (EOS, EOT and the like). */
NANO_API bool nano_tokenizer_is_eog(const nano_tokenizer *tokenizer, int32_t token_id);

/* ---- Chat templates --------------------------------------------------------------------------- */

typedef struct nano_chat_template nano_chat_template;

/* Parses a chat template: Jinja, the part of it and the functions that Hugging Face transformers
 * gives to templates (nano_model_info.chat_template is one). The source is copied. Errors name the
 * line. */
NANO_API enum nano_status nano_chat_template_create(nano_chat_template **out, const char *source,
                                                    size_t num_bytes, struct nano_error *err);

/* The same from a file: Jinja source, or a tokenizer_config.json, whose "chat_template" is a string
 * or a list of {"name", "template"}: "default", and "tool_use" for requests with tools. */
NANO_API enum nano_status nano_chat_template_open(nano_chat_template **out, const char *path,
                                                  struct nano_error *err);
NANO_API void nano_chat_template_destroy(nano_chat_template *chat_template);

/* What a template can do, found out by rendering small conversations with it. The strings live as
 * long as the template. */
struct nano_chat_template_info {
    bool takes_content_parts; /* renders the text of content given as [{"type":"text","text":…}] */
    bool takes_system;        /* renders a system message */
    bool takes_tools;         /* renders the names of tools */
    /* Tags around reasoning, known ones whose closing tag occurs in the source, or NULL. */
    const char *reasoning_start, *reasoning_end;
};
NANO_API void nano_chat_template_get_info(const nano_chat_template *chat_template,
                                          struct nano_chat_template_info *out);

struct nano_chat_render_params {
    const char *bos_token, *eos_token; /* NULL: the name is not defined in the template */
    bool add_generation_prompt;        /* unless the request says itself */
    /* Messages are as clients of OpenAI's API send them: content parts become one string unless the
     * template takes parts, and arguments of tool calls given as JSON in a string become objects. */
    bool normalize_messages;
    const char *now; /* "YYYY-MM-DD HH:MM:SS", what strftime_now prints; NULL: local time */
    /* More variables, a JSON object or NULL; the request's own come before them. */
    const char *kwargs_json;
    /* Limits, 0: the defaults. Exceeding one is an error. */
    uint64_t max_steps;
    size_t max_output_bytes;
};
NANO_API struct nano_chat_render_params nano_chat_render_params_default(void);

/* Renders a JSON object {"messages", "tools"?, "documents"?, "add_generation_prompt"?,
 * "chat_template_kwargs"?}; other members are ignored. The members of chat_template_kwargs are
 * variables of the template. What the template refuses (raise_exception) is an
 * NANO_ERR_INVALID_ARGUMENT with its message. Thread-safe. Release *prompt with nano_free. */
NANO_API enum nano_status nano_chat_template_render(const nano_chat_template *chat_template,
                                                    const char *request_json, size_t json_bytes,
                                                    const struct nano_chat_render_params *params,
                                                    char **prompt, size_t *prompt_bytes,
                                                    struct nano_error *err);

typedef struct nano_chat_parser nano_chat_parser;

/* `prompt` is what was rendered: a template may open the reasoning itself. The template is borrowed
 * until the parser is destroyed. */
NANO_API enum nano_status nano_chat_parser_create(nano_chat_parser **out,
                                                  const nano_chat_template *chat_template,
                                                  const char *prompt, size_t prompt_bytes,
                                                  struct nano_error *err);
NANO_API void nano_chat_parser_destroy(nano_chat_parser *parser);

/* New text of each kind; either may be empty. Lives until the next call on the parser. */
struct nano_chat_delta {
    const char *reasoning, *content;
    size_t reasoning_bytes, content_bytes;
};

/* Takes the next piece of an answer. A tag may be cut anywhere between pieces: its beginning is held
 * back until it is known what it is; `is_last` releases everything. Tags are in neither text, nor is
 * the white space around them. */
NANO_API enum nano_status nano_chat_parser_push(nano_chat_parser *parser, const char *text,
                                                size_t num_bytes, bool is_last,
                                                struct nano_chat_delta *out, struct nano_error *err);

/* ---- Engines --------------------------------------------------------------------------------- */

typedef struct nano_engine nano_engine;

/* Q8_0: int8 with one scale per token and head, for K and for V: about half of F16. FP8: E4M3
 * without scales, half of F16 and less precise than Q8_0; values beyond 448 become 448. */
enum nano_kv_dtype { NANO_KV_F16, NANO_KV_BF16, NANO_KV_F32, NANO_KV_Q8_0, NANO_KV_FP8 };

/* One sequence's share of a step. */
struct nano_step_entry {
    uint64_t request_id;
    int index;                 /* which of the request's n completions */
    int num_computed_tokens;   /* before the step */
    int num_scheduled_tokens;  /* in the step */
    bool is_prefill;           /* it computes prompt (or recomputed) tokens */
};

/* What one engine step did; given to on_step right after the step. */
struct nano_step {
    uint64_t step;
    int num_prefill_tokens, num_decode_tokens; /* scheduled in this step */
    int num_speculated_tokens; /* of num_decode_tokens, those that are proposals */
    int num_running, num_waiting;
    int num_preempted;         /* sequences that lost their blocks in this step */
    int num_blocks_used, num_blocks_shared, num_blocks; /* shared: referenced more than once */
    /* Of the engine's thread: they add up to the step. With async_scheduling run_ns is how long it had
     * to wait for the runner, and schedule_ns includes scheduling the next step in the meantime. */
    uint64_t schedule_ns, run_ns, postprocess_ns;
    const struct nano_step_entry *entries; /* lives during the callback */
    int num_entries;
};

/* A LoRA adapter: a GGUF file as llama.cpp's convert_lora_to_gguf.py writes it, made for the model. */
struct nano_lora {
    const char *name; /* by which requests ask for it; adapters of one name count together */
    const char *path;
    float scale;      /* multiplies what the file says; 1: as trained */
};

struct nano_engine_params {
    const char *runner;          /* "cpu", "cuda", "onnx" for ONNX graphs, "mock"; NULL, the default:
                                    "onnx" or "cpu", as the model needs */
    /* Execution providers of ONNX Runtime in order of preference, e.g. "cuda,cpu"; NULL: the CPU. Read
     * until create returns. */
    const char *onnx_providers;
    int num_threads;             /* at most one per CPU that affinity and cgroups leave; 0: that many */
    int max_model_len;           /* tokens of prompt + output of one sequence; 0: the model's */
    int max_num_seqs;            /* sequences running at once; fewer if recurrent states are large */
    int max_num_batched_tokens;  /* tokens computed in one step; 0: 512, on a GPU up to 4096 as long
                                    as they leave 7/8 of what weights leave of its memory */
    int max_num_queued_reqs;     /* 0: no limit */
    int block_size;              /* tokens in a KV block */
    int num_blocks;              /* 0: as many as the budget or max_num_seqs x max_model_len need */
    uint64_t mem_budget_bytes;   /* weights + KV pool + activations + queues; 0: no limit. On a GPU: of
                                    its memory, without queues; 0: as the next says */
    float gpu_memory_utilization; /* share of a GPU's memory that may be in use, by others too */
    bool batch_invariant;        /* on a GPU, as on CPUs always: no token depends on what else is in the
                                    batch. False: long prompts are computed by cuBLASLt, faster */
    bool enforce_eager;          /* on a GPU: no step is recorded and replayed as a CUDA graph; each op
                                    is timed instead */
    bool async_scheduling;       /* where the runner can (on a GPU): a step that only decodes is prepared
                                    and started while the one before it computes. No token changes */
    enum nano_kv_dtype kv_cache_dtype;
    bool enable_prefix_caching;
    /* While sequences decode, prompts are computed in chunks that keep a step to about this many
     * milliseconds; 0: as many tokens as max_num_batched_tokens allows. */
    float itl_target_ms;
    /* Speculative decoding by n-gram lookup in prompt and output: tokens proposed at most for a
     * sequence in a step, 0 … 64 (0: off), and how many tokens must match. No token changes. Models
     * with recurrent states cannot do it. */
    int num_speculative_tokens;
    int prompt_lookup_min, prompt_lookup_max;
    const struct nano_lora *loras; /* what requests may run with; read until create returns */
    int num_loras;
    bool manual_step;            /* no engine thread: the caller drives nano_engine_step */
    void (*on_step)(const struct nano_step *step, void *user_data); /* may be NULL */
    void *on_step_user_data;
};
NANO_API struct nano_engine_params nano_engine_params_default(void);

/* How memory is divided before the first token. */
struct nano_memory_plan {
    uint64_t weight_bytes;     /* packed weights and adapters that live in memory of their own */
    uint64_t mapped_bytes;     /* of the model as stored: read in place, or while it is packed */
    uint64_t kv_block_bytes;   /* one block, all layers of its group */
    uint64_t kv_bytes;         /* num_blocks of them */
    uint64_t state_bytes;      /* a sequence's recurrent state; 0: the model has none */
    uint64_t states_bytes;     /* num_states of them: those of running sequences, and kept ones */
    uint64_t activation_bytes; /* the program's buffers and logits for one step */
    uint64_t engine_bytes;     /* requests, queues, block tables, hashes, sampler, tokenizer, process */
    uint64_t device_bytes;     /* the GPU's memory; 0: all is in the host's. With a GPU, weights, KV,
                                  states and activations are in its memory, and total_bytes and
                                  budget_bytes count them alone */
    uint64_t total_bytes;
    uint64_t budget_bytes;     /* 0: no limit */
    int num_blocks, block_size, max_model_len, max_num_seqs, max_num_batched_tokens, num_threads;
    int num_kv_groups; /* of layers with tables of their own: a sequence has a block in each */
    int num_states;
};

/* Computes the plan without allocating it. Fails as nano_engine_create would (the message has the
 * numbers) and still fills *out when the only fault is that it does not fit the budget. */
NANO_API enum nano_status nano_engine_plan(const nano_model *model, const struct nano_engine_params *params,
                                           struct nano_memory_plan *out, struct nano_error *err);

/* Loads the weights, allocates everything and starts the engine's thread (unless manual_step).
 * `model` NULL is allowed with the mock runner only. `params` NULL: the defaults. */
NANO_API enum nano_status nano_engine_create(nano_engine **out, nano_model *model,
                                             const struct nano_engine_params *params,
                                             struct nano_error *err);

/* Cancels what is still running (their callbacks are called on this thread, and what they submit is
 * refused) and releases everything. Not from a callback, nor while another thread uses the engine.
 * NULL is fine. */
NANO_API void nano_engine_destroy(nano_engine *engine);

NANO_API void nano_engine_get_plan(const nano_engine *engine, struct nano_memory_plan *out);

/* With manual_step: runs one step, with its callbacks, on this thread; *has_work is false when there
 * was nothing to do. An error is the runner's: the sequences of the step end with
 * NANO_FINISH_ERROR, the others go on. One thread at a time, and not from a callback. */
NANO_API enum nano_status nano_engine_step(nano_engine *engine, bool *has_work, struct nano_error *err);

struct nano_logit_bias {
    int32_t token_id;
    float bias;
};

struct nano_sampling_params {
    int n;                   /* completions of the prompt, 1 … 64; they share its blocks */
    int max_tokens;          /* 0: only the prompt is computed; -1: until the context is full */
    int min_tokens;          /* EOS, stop tokens and stop strings do not count before that many */
    float temperature;       /* 0: greedy */
    int top_k;               /* 0 or -1: off */
    float top_p, min_p;      /* 1 and 0: off */
    float repetition_penalty, presence_penalty, frequency_penalty; /* 1, 0, 0: off */
    uint64_t seed;           /* completion i uses its own stream of this seed */
    bool has_seed;           /* false: a new seed for each request */
    bool ignore_eos;
    int logprobs;            /* -1: off; 0: the chosen token's; N: and the N most likely */
    int prompt_logprobs;     /* the same for the prompt's tokens */
    const char *const *stop; /* strings that end the output (and are not part of it) */
    int num_stop;
    bool include_stop_str_in_output;
    const int32_t *stop_token_ids;
    int num_stop_token_ids;
    const struct nano_logit_bias *logit_bias;
    int num_logit_bias;
    bool skip_special_tokens; /* in text */
    bool detokenize;          /* false: no text, and stop strings are refused */
};
NANO_API struct nano_sampling_params nano_sampling_params_default(void);

enum nano_finish_reason {
    NANO_FINISH_NONE = 0,  /* not finished */
    NANO_FINISH_STOP,      /* EOS, a stop token or a stop string */
    NANO_FINISH_LENGTH,    /* max_tokens or the context is full */
    NANO_FINISH_CANCELLED, /* nano_engine_cancel or nano_engine_destroy */
    NANO_FINISH_ERROR      /* output->error says what */
};
/* "stop", "length", "cancelled", "error"; NULL for NANO_FINISH_NONE. */
NANO_API const char *nano_finish_reason_name(enum nano_finish_reason reason);

/* Which hidden rows of a prompt become its embedding, with the numbers that GGUF files have for it. A
 * hidden row is what the logits of a position are made of, or what an encoder ends with. */
enum nano_pooling {
    NANO_POOLING_DEFAULT = 0, /* what the model's file says, else MEAN for encoders and LAST for others */
    NANO_POOLING_MEAN = 1,    /* the mean of all */
    NANO_POOLING_CLS = 2,     /* the first token's */
    NANO_POOLING_LAST = 3     /* the last token's */
};

struct nano_embedding_params {
    enum nano_pooling pooling;
    int normalize; /* -1: as it is; 0: the largest magnitude becomes 32760; 1: the sum of magnitudes
                      becomes 1; 2: the length becomes 1; above: the norm of that order */
};
/* DEFAULT and 2. */
NANO_API struct nano_embedding_params nano_embedding_params_default(void);

struct nano_top_logprob {
    int32_t token_id;
    float logprob; /* natural logarithm of the unmodified softmax */
};

struct nano_token_logprobs {
    int32_t token_id; /* -1: none (the prompt's first token) */
    float logprob;
    const struct nano_top_logprob *top; /* most likely first */
    int num_top;
};

/* News of one completion; everything in it lives during the callback. */
struct nano_output {
    uint64_t request_id;
    int index;                        /* 0 … n-1 */
    const int32_t *token_ids;         /* new tokens since the last callback */
    int num_tokens;
    const char *text;                 /* new text, whole UTF-8 characters, zero-terminated */
    size_t text_bytes;
    const struct nano_token_logprobs *logprobs;        /* one per new token, or NULL */
    /* One per prompt token, once, with completion 0 (they are the same for all), or NULL: */
    const struct nano_token_logprobs *prompt_logprobs;
    int num_prompt_logprobs;
    const float *embedding;           /* with the finish_reason of a request for one, or NULL */
    int embedding_size;
    enum nano_finish_reason finish_reason;
    const char *stop_reason;          /* the stop string that matched, or NULL */
    int32_t stop_token_id;            /* the token that ended it, or -1 */
    const struct nano_error *error;   /* with NANO_FINISH_ERROR */
    int num_prompt_tokens, num_cached_tokens, num_completion_tokens; /* so far */
    uint64_t time_ns; /* when the step was computed, by a monotonic clock: one time for all of it */
    uint64_t queued_ns, prefill_ns, decode_ns; /* with a finish_reason: time in each phase */
};

typedef void (*nano_output_fn)(const struct nano_output *output, void *user_data);

struct nano_request {
    const char *prompt;              /* text, or NULL when token ids are given */
    size_t prompt_bytes;
    unsigned encode_flags;           /* for text: enum nano_encode_flags */
    const int32_t *prompt_token_ids; /* taken as they are: no BOS is added */
    size_t num_prompt_token_ids;
    struct nano_sampling_params sampling;
    /* Not NULL: the request is for the prompt's embedding, and sampling is not looked at. It finishes
     * with NANO_FINISH_STOP. Its bits do not depend on what else the engine does. Models that are
     * encoders take no other requests. */
    const struct nano_embedding_params *embedding;
    int priority;                    /* lower runs first; equal ones in order of arrival */
    /* Requests share KV blocks of equal prefixes only with those of the same salt; NULL or "": the
     * common one. It keeps clients from finding out by timing what others have asked. */
    const char *cache_salt;
    const char *lora;                /* name of the adapter to run with, or NULL: the model as it is */
    nano_output_fn on_output;        /* called on the thread that steps; it may submit and cancel */
    void *user_data;
};
NANO_API struct nano_request nano_request_default(void);

/* Queues a request; thread-safe. Bad parameters, a prompt that cannot fit and a full queue
 * (NANO_ERR_QUEUE_FULL: later it may have room) are refused here. request_id may be NULL;
 * *request_id is set before the first callback. After NANO_OK each of the n completions gets exactly
 * one output with a finish_reason. */
NANO_API enum nano_status nano_engine_submit(nano_engine *engine, const struct nano_request *request,
                                             uint64_t *request_id, struct nano_error *err);

/* Ends all completions of the request within one step; unknown or finished ids are ignored.
 * Thread-safe. */
NANO_API void nano_engine_cancel(nano_engine *engine, uint64_t request_id);

/* Blocks until no request is waiting or running and the last step is over, its on_step included.
 * Not from a callback. With manual_step it steps. */
NANO_API void nano_engine_wait_idle(nano_engine *engine);

struct nano_stats {
    uint64_t num_requests_submitted, num_requests_finished; /* however they ended */
    uint64_t num_requests_cancelled;                        /* of the finished ones */
    int num_requests_running, num_requests_waiting; /* sequences, counted as vLLM does, after a step */
    uint64_t prompt_tokens_total;      /* of admitted requests */
    uint64_t computed_tokens_total;    /* token positions actually run through the model */
    uint64_t generation_tokens_total;
    uint64_t draft_tokens_total, accepted_tokens_total; /* of speculative decoding */
    uint64_t prefix_cache_queries_total, prefix_cache_hits_total; /* in tokens */
    uint64_t num_preemptions_total;
    uint64_t num_steps_total;
    int num_blocks, num_blocks_used, num_blocks_cached; /* cached: free, but reusable by content */
    int num_blocks_shared, max_blocks_used;
    uint64_t schedule_ns_total, run_ns_total, postprocess_ns_total;
    uint64_t memory_used_bytes;        /* taken at the start; the weights of a mapped file do not count */
};
/* A consistent snapshot; thread-safe. */
NANO_API void nano_engine_get_stats(const nano_engine *engine, struct nano_stats *out);

struct nano_op_profile {
    const char *name; /* op kind and label, e.g. "linear ffn_gate_up" */
    uint64_t count, total_ns, weight_bytes, num_macs;
};
/* Time per kind of op since the engine was created; returns how many there are and fills up to
 * `capacity`. The names live as long as the engine. 0 for runners that do not profile. */
NANO_API size_t nano_engine_get_profile(const nano_engine *engine, struct nano_op_profile *out,
                                        size_t capacity);

/* The instruction set of the kernels in use: "ref", "avx2", "avx512", …; of an ONNX graph the runtime
 * and its providers. */
NANO_API const char *nano_engine_get_isa(const nano_engine *engine);

/* ---- Importance matrices --------------------------------------------------------------------- */

/* For every weight matrix of the layers, per column the sum of the squares of what it is multiplied
 * with, over the tokens of texts; llama.cpp's tools read and write the same files. */
typedef struct nano_imatrix nano_imatrix;

struct nano_imatrix_params {
    int chunk_size;             /* tokens; a text is cut into chunks that do not see each other */
    int max_num_batched_tokens; /* tokens computed in one step */
    int num_threads;            /* as in nano_engine_params */
    enum nano_kv_dtype kv_cache_dtype;
    bool process_output;        /* output.weight too, where a model has one */
    bool parse_special;         /* "<|im_start|>" in a text becomes the control token */
    bool compute_perplexity;
};
NANO_API struct nano_imatrix_params nano_imatrix_params_default(void);

/* An empty one. */
NANO_API enum nano_status nano_imatrix_create(nano_imatrix **out, const struct nano_imatrix_params *params,
                                              struct nano_error *err);
NANO_API void nano_imatrix_destroy(nano_imatrix *imatrix);

/* Adds what stands in a file, of either kind (see nano_imatrix_save). */
NANO_API enum nano_status nano_imatrix_add_file(nano_imatrix *imatrix, const char *path,
                                                struct nano_error *err);

/* Given after each chunk of a text. The callback may save the imatrix; false ends the computation
 * there, without an error. */
struct nano_imatrix_progress {
    int num_chunks_done, num_chunks;
    /* Of the text so far, with its standard error, as the second halves of the chunks are
     * predicted; 0 without compute_perplexity. */
    double perplexity, perplexity_error;
};
typedef bool (*nano_imatrix_progress_fn)(const struct nano_imatrix_progress *progress, void *user_data);

struct nano_imatrix_text {
    const char *text;
    size_t num_bytes;
    const char *name; /* what a saved file calls the text; NULL: it is not mentioned */
    int max_chunks;   /* 0: all whole ones */
    nano_imatrix_progress_fn on_progress; /* may be NULL */
    void *user_data;
};

/* Runs a text through a model and adds what its weights see; chunks that were done before an error
 * stay added. The first token of each chunk is replaced by BOS where the model wants one. The result
 * does not depend on num_threads or max_num_batched_tokens. */
NANO_API enum nano_status nano_imatrix_add_text(nano_imatrix *imatrix, nano_model *model,
                                                const struct nano_imatrix_text *text,
                                                struct nano_error *err);

/* Writes it as GGUF, or in llama.cpp's older format if the name ends in ".dat". */
NANO_API enum nano_status nano_imatrix_save(const nano_imatrix *imatrix, const char *path,
                                            struct nano_error *err);

/* ---- The machine ----------------------------------------------------------------------------- */

/* What a result can be set beside. */
struct nano_machine_limits {
    double read_gbps; /* bytes read from memory, 1e9 per second */
    double int8_gmacs, bf16_gmacs, f32_gmacs; /* multiply-adds in registers, 1e9 per second; 0: this
                                                 processor has no instruction for them */
};

/* Measures for about half a second what `num_threads` threads (0: as many as this process may use)
 * do together at best, with the instruction set that engines use. It takes up to 512 MiB meanwhile. */
NANO_API enum nano_status nano_measure_machine(struct nano_machine_limits *out, int num_threads,
                                               struct nano_error *err);

/* ---- The simple way -------------------------------------------------------------------------- */

/* Submits one text prompt, waits for it and returns its whole text; release *text with nano_free.
 * `sampling` NULL: the defaults (the first completion is returned). Not from a callback. */
NANO_API enum nano_status nano_generate(nano_engine *engine, const char *prompt,
                                        const struct nano_sampling_params *sampling, char **text,
                                        struct nano_error *err);

#ifdef __cplusplus
}
#endif
#endif
