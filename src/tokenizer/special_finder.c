/* Special finder. */
#include "tokenizer/special_finder.h"

#include <string.h>

#include "base/memory.h"

enum { FIRST_OF_USER_DEFINED = 1, FIRST_OF_OTHER = 2 };

static bool is_found_in_text(const struct nano_vocab *vocab, int32_t id)
{
    return vocab->types[id] == NANO_TOKEN_USER_DEFINED || nano_vocab_is_special(vocab, id);
}

static struct nano_trie_edge *find_edge(const struct nano_special_finder *finder, uint32_t node,
                                        unsigned char byte)
{
    uint64_t mixed = ((uint64_t)node << 8 | byte) * UINT64_C(0x9E3779B97F4A7C15);
    size_t i = (size_t)(mixed ^ mixed >> 32) & (finder->num_slots - 1);
    for (;; i = (i + 1) & (finder->num_slots - 1)) {
        struct nano_trie_edge *edge = &finder->edges[i];
        if (edge->child == 0 || (edge->node == node && edge->byte == byte))
            return edge;
    }
}

static void add_token(struct nano_special_finder *finder, int32_t id)
{
    const struct nano_string *text = &finder->vocab->texts[id];
    uint32_t node = 0;
    for (size_t i = 0; i < text->num_bytes; i++) {
        unsigned char byte = (unsigned char)text->bytes[i];
        struct nano_trie_edge *edge = find_edge(finder, node, byte);
        if (edge->child == 0) {
            *edge = (struct nano_trie_edge){node, finder->num_nodes, byte};
            finder->node_tokens[finder->num_nodes++] = -1;
        }
        node = edge->child;
    }
    if (finder->node_tokens[node] < 0)
        finder->node_tokens[node] = id;
    finder->first_bytes[(unsigned char)text->bytes[0]] |=
        finder->vocab->types[id] == NANO_TOKEN_USER_DEFINED ? FIRST_OF_USER_DEFINED
                                                            : FIRST_OF_OTHER;
}

enum nano_status nano_special_finder_init(struct nano_special_finder *finder,
                                          const struct nano_vocab *vocab, struct nano_error *err)
{
    memset(finder, 0, sizeof *finder);
    finder->vocab = vocab;
    size_t max_nodes = 1;
    for (int32_t id = 0; id < vocab->num_tokens; id++)
        if (is_found_in_text(vocab, id))
            max_nodes += vocab->texts[id].num_bytes;
    if (max_nodes > UINT32_MAX / 4)
        return nano_error_set(err, NANO_ERR_FORMAT,
                              "special tokens: %zu bytes of text are too many", max_nodes);
    finder->num_slots = 16;
    while (finder->num_slots / 2 < max_nodes)
        finder->num_slots *= 2;
    finder->edges = nano_mem_calloc(finder->num_slots, sizeof *finder->edges);
    finder->node_tokens = nano_mem_alloc(max_nodes, sizeof *finder->node_tokens);
    if (!finder->edges || !finder->node_tokens)
        return nano_error_no_memory(err, "special tokens",
                                    finder->num_slots * sizeof *finder->edges);
    finder->node_tokens[0] = -1;
    finder->num_nodes = 1;
    for (int32_t id = 0; id < vocab->num_tokens; id++)
        if (is_found_in_text(vocab, id) && vocab->texts[id].num_bytes > 0)
            add_token(finder, id);
    return NANO_OK;
}

void nano_special_finder_deinit(struct nano_special_finder *finder)
{
    nano_mem_free(finder->edges);
    nano_mem_free(finder->node_tokens);
    memset(finder, 0, sizeof *finder);
}

/* The longest token at the beginning of the text. */
static int32_t match_here(const struct nano_special_finder *finder, const char *text,
                          size_t num_bytes, bool parse_special, size_t *length)
{
    int32_t found = -1;
    uint32_t node = 0;
    for (size_t i = 0; i < num_bytes; i++) {
        node = find_edge(finder, node, (unsigned char)text[i])->child;
        if (node == 0)
            break;
        int32_t id = finder->node_tokens[node];
        if (id >= 0 && (parse_special || finder->vocab->types[id] == NANO_TOKEN_USER_DEFINED)) {
            found = id;
            *length = i + 1;
        }
    }
    return found;
}

int32_t nano_special_finder_next(const struct nano_special_finder *finder, const char *text,
                                 size_t num_bytes, size_t begin, bool parse_special,
                                 size_t *token_begin, size_t *token_end)
{
    unsigned char wanted = FIRST_OF_USER_DEFINED | (parse_special ? FIRST_OF_OTHER : 0);
    for (size_t i = begin; i < num_bytes; i++) {
        if (!(finder->first_bytes[(unsigned char)text[i]] & wanted))
            continue;
        size_t length;
        int32_t id = match_here(finder, text + i, num_bytes - i, parse_special, &length);
        if (id >= 0) {
            *token_begin = i;
            *token_end = i + length;
            return id;
        }
    }
    return -1;
}

bool nano_special_strips_after(const struct nano_vocab *vocab, int32_t id)
{
    static const char *const keepers[] = {"<unk>", "<s>", "<|endoftext|>"};
    if (!vocab->strip_after_special)
        return false;
    const struct nano_string *text = &vocab->texts[id];
    for (size_t i = 0; i < sizeof keepers / sizeof *keepers; i++)
        if (text->num_bytes == strlen(keepers[i]) &&
            memcmp(text->bytes, keepers[i], text->num_bytes) == 0)
            return false;
    return true;
}
