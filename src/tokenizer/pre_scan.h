/* Scanners: what the two commonest pre-tokenizer patterns match, by hand for plain ASCII.
 *
 * A scanner looks at text[pos …) and returns where the pattern's match that begins at `pos` ends,
 * or 0 when that depends on a byte >= 0x80, which is PCRE2's to decide. Both patterns match at
 * every position. The text is one fragment: its end is the pattern's end of subject. */
#ifndef NANO_TOKENIZER_PRE_SCAN_H
#define NANO_TOKENIZER_PRE_SCAN_H

#include <stddef.h>

typedef size_t (*nano_scan_fn)(const char *text, size_t num_bytes, size_t pos);

/* GPT-2: contractions, words, numbers and signs with one space before them, whitespace. */
size_t nano_scan_gpt2(const char *text, size_t num_bytes, size_t pos);

/* Llama 3: as above, but any sign may stand before a word, no space before a number, numbers in
 * groups of up to three digits, line ends stick to the signs or the whitespace before them. */
size_t nano_scan_llama3(const char *text, size_t num_bytes, size_t pos);

/* Qwen 2: Llama 3 with single digits. */
size_t nano_scan_qwen2(const char *text, size_t num_bytes, size_t pos);

#endif
