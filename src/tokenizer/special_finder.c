/* Special finder. */
#include "tokenizer/special_finder.h"

#include <string.h>

#include "base/memory.h"
#include "tokenizer/char_class.h"

enum { FIRST_OF_PLAIN = 1, FIRST_OF_SPECIAL = 2 };

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

static void add_token(struct nano_special_finder *finder, size_t index)
{
    const struct nano_string *text = &finder->tokens[index].text;
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
        finder->node_tokens[node] = (int32_t)index;
    finder->first_bytes[(unsigned char)text->bytes[0]] |=
        finder->tokens[index].special ? FIRST_OF_SPECIAL : FIRST_OF_PLAIN;
}

enum nano_status nano_special_finder_init(struct nano_special_finder *finder,
                                          const struct nano_added_token *tokens, size_t num_tokens,
                                          struct nano_error *err)
{
    memset(finder, 0, sizeof *finder);
    size_t max_nodes = 1;
    for (size_t i = 0; i < num_tokens; i++)
        max_nodes += tokens[i].text.num_bytes;
    if (max_nodes > UINT32_MAX / 4)
        return nano_error_set(err, NANO_ERR_FORMAT,
                              "special tokens: %zu bytes of text are too many", max_nodes);
    finder->num_slots = 16;
    while (finder->num_slots / 2 < max_nodes)
        finder->num_slots *= 2;
    finder->edges = nano_mem_calloc(finder->num_slots, sizeof *finder->edges);
    finder->node_tokens = nano_mem_alloc(max_nodes, sizeof *finder->node_tokens);
    finder->tokens = nano_mem_alloc(num_tokens, sizeof *tokens);
    if (!finder->edges || !finder->node_tokens || !finder->tokens)
        return nano_error_no_memory(err, "special tokens",
                                    finder->num_slots * sizeof *finder->edges);
    if (num_tokens > 0)
        memcpy(finder->tokens, tokens, num_tokens * sizeof *tokens);
    finder->num_tokens = num_tokens;
    finder->node_tokens[0] = -1;
    finder->num_nodes = 1;
    for (size_t i = 0; i < num_tokens; i++)
        if (tokens[i].text.num_bytes > 0)
            add_token(finder, i);
    return NANO_OK;
}

/* Phi-3's own tokenizer drops white space behind its special tokens, but for these. */
static bool strips_after(const struct nano_vocab *vocab, int32_t id)
{
    static const char *const keepers[] = {"<unk>", "<s>", "<|endoftext|>"};
    const struct nano_string *text = &vocab->texts[id];
    for (size_t i = 0; i < sizeof keepers / sizeof *keepers; i++)
        if (text->num_bytes == strlen(keepers[i]) &&
            memcmp(text->bytes, keepers[i], text->num_bytes) == 0)
            return false;
    return vocab->strip_after_special;
}

enum nano_status nano_special_finder_init_vocab(struct nano_special_finder *finder,
                                                const struct nano_vocab *vocab,
                                                struct nano_error *err)
{
    size_t count = 0;
    for (int32_t id = 0; id < vocab->num_tokens; id++)
        count += is_found_in_text(vocab, id);
    struct nano_added_token *tokens = nano_mem_alloc(count, sizeof *tokens);
    if (!tokens)
        return nano_error_no_memory(err, "special tokens", count * sizeof *tokens);
    count = 0;
    for (int32_t id = 0; id < vocab->num_tokens; id++)
        if (is_found_in_text(vocab, id))
            tokens[count++] = (struct nano_added_token){
                .text = vocab->texts[id],
                .id = id,
                .special = vocab->types[id] != NANO_TOKEN_USER_DEFINED,
                .rstrip = strips_after(vocab, id),
            };
    enum nano_status status = nano_special_finder_init(finder, tokens, count, err);
    nano_mem_free(tokens);
    return status;
}

void nano_special_finder_deinit(struct nano_special_finder *finder)
{
    nano_mem_free(finder->edges);
    nano_mem_free(finder->node_tokens);
    nano_mem_free(finder->tokens);
    memset(finder, 0, sizeof *finder);
}

/* The longest token at the beginning of the text; NULL if there is none. */
static const struct nano_added_token *match_here(const struct nano_special_finder *finder,
                                                 const char *text, size_t num_bytes,
                                                 bool parse_special)
{
    const struct nano_added_token *found = NULL;
    uint32_t node = 0;
    for (size_t i = 0; i < num_bytes; i++) {
        node = find_edge(finder, node, (unsigned char)text[i])->child;
        if (node == 0)
            break;
        int32_t index = finder->node_tokens[node];
        if (index >= 0 && (parse_special || !finder->tokens[index].special))
            found = &finder->tokens[index];
    }
    return found;
}

static bool is_alone(const char *text, size_t num_bytes, size_t begin, size_t end)
{
    uint32_t codepoint;
    size_t length;
    return !(nano_char_before(text, begin, &codepoint, &length) && nano_char_is_word(codepoint)) &&
           !(nano_char_at(text, num_bytes, end, &codepoint, &length) &&
             nano_char_is_word(codepoint));
}

int32_t nano_special_finder_next(const struct nano_special_finder *finder, const char *text,
                                 size_t num_bytes, size_t begin, bool parse_special,
                                 size_t *token_begin, size_t *token_end)
{
    unsigned char wanted = FIRST_OF_PLAIN | (parse_special ? FIRST_OF_SPECIAL : 0);
    uint32_t codepoint;
    size_t length;
    for (size_t i = begin; i < num_bytes; i++) {
        if (!(finder->first_bytes[(unsigned char)text[i]] & wanted))
            continue;
        const struct nano_added_token *token =
            match_here(finder, text + i, num_bytes - i, parse_special);
        if (!token)
            continue;
        size_t end = i + token->text.num_bytes;
        if (token->single_word && !is_alone(text, num_bytes, i, end)) {
            i = end - 1;
            continue;
        }
        while (token->lstrip && i > begin && nano_char_before(text, i, &codepoint, &length) &&
               nano_char_is_space(codepoint))
            i -= length;
        while (token->rstrip && nano_char_at(text, num_bytes, end, &codepoint, &length) &&
               nano_char_is_space(codepoint))
            end += length;
        *token_begin = i;
        *token_end = end;
        return token->id;
    }
    return -1;
}
