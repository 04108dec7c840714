/* Pre-tokenizer patterns.
 *
 * The expressions are those of the models' own tokenizer files in the form that llama.cpp gives
 * them (llama-vocab.cpp, unicode.cpp), with two things spelled out: \s is Unicode's White_Space,
 * which PCRE2's \s is not quite, and "a letter but not a-z" is one class instead of a group. */
#include "tokenizer/pre_patterns.h"

#include <string.h>

#define SPACE  \
    "\\t-\\r " \
    "\\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}\\x{3000}"
#define SPACES_BEFORE_WORD "[" SPACE "]+(?![^" SPACE "])"
#define ANY_CASE_CONTRACTION "'(?:[sStTmMdD]|[rR][eE]|[vV][eE]|[lL][lL])"
#define LINE_ENDS_OR_SPACES "[" SPACE "]*[\\r\\n]+|" SPACES_BEFORE_WORD "|[" SPACE "]+"

#define GPT2                                                                                   \
    "'(?:[stmd]|re|ve|ll)| ?\\p{L}+| ?\\p{N}+| ?[^" SPACE "\\p{L}\\p{N}]+|" SPACES_BEFORE_WORD \
    "|[" SPACE "]+"
#define CL100K(digits)                                                          \
    ANY_CASE_CONTRACTION "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" digits "| ?[^" SPACE \
                         "\\p{L}\\p{N}]+[\\r\\n]*|" LINE_ENDS_OR_SPACES
#define NOT_SMALL "[^\\P{L}a-z]"
#define NOT_CAPITAL "[^\\P{L}A-Z]"
#define CAMEL_CASE(contraction, digits)                                                          \
    "[^\\r\\n\\p{L}\\p{N}]?" NOT_SMALL "*" NOT_CAPITAL "+" contraction                           \
    "|[^\\r\\n\\p{L}\\p{N}]?" NOT_SMALL "+" NOT_CAPITAL "*" contraction "|" digits "| ?[^" SPACE \
    "\\p{L}\\p{N}]+[\\r\\n/]*|" LINE_ENDS_OR_SPACES

/* Cased letters, as DeepSeek lists them. */
#define DEEPSEEK_LETTERS                                                                    \
    "A-Za-z\\x{B5}\\x{C0}-\\x{D6}\\x{D8}-\\x{F6}\\x{F8}-\\x{1BA}\\x{1BC}-\\x{1BF}"          \
    "\\x{1C4}-\\x{293}\\x{295}-\\x{2AF}\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37B}-\\x{37D}"  \
    "\\x{37F}\\x{386}\\x{388}-\\x{38A}\\x{38C}\\x{38E}-\\x{3A1}\\x{3A3}-\\x{3F5}"           \
    "\\x{3F7}-\\x{481}\\x{48A}-\\x{52F}\\x{531}-\\x{556}\\x{10A0}-\\x{10C5}"                \
    "\\x{13A0}-\\x{13F5}\\x{13F8}-\\x{13FD}\\x{1C90}-\\x{1CBA}\\x{1CBD}-\\x{1CBF}"          \
    "\\x{1D00}-\\x{1D2B}\\x{1D6B}-\\x{1D77}\\x{1D79}-\\x{1D9A}\\x{1E00}-\\x{1F15}"          \
    "\\x{1F18}-\\x{1F1D}\\x{1F20}-\\x{1F45}\\x{1F48}-\\x{1F4D}\\x{1F50}-\\x{1F57}\\x{1F59}" \
    "\\x{1F5B}\\x{1F5D}\\x{1F5F}-\\x{1F7D}\\x{1F80}-\\x{1FB4}\\x{1FB6}-\\x{1FBC}\\x{1FBE}"  \
    "\\x{1FC2}-\\x{1FC4}\\x{1FC6}-\\x{1FCC}\\x{1FD0}-\\x{1FD3}\\x{1FD6}-\\x{1FDB}"          \
    "\\x{1FE0}-\\x{1FEC}\\x{1FF2}-\\x{1FF4}\\x{1FF6}-\\x{1FFC}\\x{2102}\\x{2107}"           \
    "\\x{210A}-\\x{2113}\\x{2115}\\x{2119}-\\x{211D}\\x{2124}\\x{2126}\\x{2128}"            \
    "\\x{212A}-\\x{212D}\\x{212F}-\\x{2134}\\x{2139}\\x{213C}-\\x{213F}\\x{2145}-\\x{2149}" \
    "\\x{214E}\\x{2183}\\x{2184}\\x{2C00}-\\x{2C7B}\\x{2C7E}-\\x{2CE4}\\x{2CEB}-\\x{2CEE}"  \
    "\\x{2CF2}\\x{2CF3}\\x{A640}-\\x{A66D}\\x{A680}-\\x{A69B}\\x{A722}-\\x{A76F}"           \
    "\\x{A771}-\\x{A787}\\x{A78B}-\\x{A78E}\\x{AB70}-\\x{ABBF}\\x{FB00}-\\x{FB06}"          \
    "\\x{FB13}-\\x{FB17}\\x{FF21}-\\x{FF3A}\\x{FF41}-\\x{FF5A}\\x{10400}-\\x{1044F}"        \
    "\\x{104B0}-\\x{104D3}\\x{104D8}-\\x{104FB}\\x{10C80}-\\x{10CB2}\\x{10CC0}-\\x{10CF2}"  \
    "\\x{118A0}-\\x{118DF}\\x{1E900}-\\x{1E943}"

/* Without the whitespace that lies in these ranges: llama.cpp sees it as a plain space. */
#define DEEPSEEK_SIGNS \
    "!-/:-~\\x{FF01}-\\x{FF0F}\\x{FF1A}-\\x{FF5E}\\x{2018}-\\x{201F}\\x{3001}\\x{3002}"
#define DEEPSEEK_CJK                                                               \
    "\\x{4E00}-\\x{9FA5}\\x{800}-\\x{167F}\\x{1681}-\\x{1FFF}\\x{200B}-\\x{2027}"  \
    "\\x{202A}-\\x{202E}\\x{2030}-\\x{205E}\\x{2060}-\\x{2FFF}\\x{3001}-\\x{4DFF}" \
    "\\x{AC00}-\\x{D7FF}"

static const struct nano_pre_pattern gpt2 = {{GPT2}, nano_scan_gpt2};
static const struct nano_pre_pattern llama3 = {{CL100K("\\p{N}{1,3}")}, nano_scan_llama3};
static const struct nano_pre_pattern qwen2 = {{CL100K("\\p{N}")}, nano_scan_qwen2};
static const struct nano_pre_pattern digits_gpt2 = {{"\\p{N}", GPT2}, NULL};
static const struct nano_pre_pattern tekken = {{CAMEL_CASE("", "\\p{N}")}, NULL};
static const struct nano_pre_pattern gpt4o = {
    {CAMEL_CASE("(?:" ANY_CASE_CONTRACTION ")?", "\\p{N}{1,3}")}, NULL};
static const struct nano_pre_pattern qwen35 = {
    {ANY_CASE_CONTRACTION "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}"
                          "| ?[^" SPACE "\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" LINE_ENDS_OR_SPACES},
    NULL};
static const struct nano_pre_pattern default_pattern = {
    {"[\\p{P}$+<=>^~|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]"}, NULL};
static const struct nano_pre_pattern falcon = {{"[\\p{P}$+<=>^~|`]+", GPT2, "[0-9][0-9][0-9]"},
                                               NULL};
static const struct nano_pre_pattern deepseek_llm = {
    {"[\\r\\n]", "[" SPACE "]?[" DEEPSEEK_LETTERS "]+", "[" SPACE "]?[" DEEPSEEK_SIGNS "]+",
     /* the look-behind changes nothing but the time that a long run of spaces takes */
     "(?<![" SPACE "])[" SPACE "]+\\z", "[" DEEPSEEK_CJK "]+", "\\p{N}+"},
    NULL};
static const struct nano_pre_pattern deepseek_v3 = {
    {"\\p{N}{1,3}", "[\\x{4E00}-\\x{9FA5}\\x{3040}-\\x{30FF}]+",
     "[!-/:-@\\[-`{-~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
     "| ?[\\p{P}\\p{S}]+[\\r\\n]*|" LINE_ENDS_OR_SPACES},
    NULL};

static const struct nano_pre_row rows[] = {
    {"chatglm-bpe", &llama3, false, false},
    {"command-r", &digits_gpt2, false, false},
    {"dbrx", &llama3, false, false},
    {"deepseek-llm", &deepseek_llm, false, false},
    {"deepseek-r1-qwen", &qwen2, false, false},
    {"deepseek-v3", &deepseek_v3, false, false},
    {"default", &default_pattern, false, false},
    {"exaone", &digits_gpt2, false, false},
    {"exaone4", &gpt2, false, false},
    {"falcon", &falcon, false, false},
    {"falcon-h1", &llama3, true, true},
    {"falcon3", &llama3, true, true},
    {"glm4", &llama3, false, false},
    {"gpt-2", &gpt2, false, false},
    {"gpt-4o", &gpt4o, false, false},
    {"granite-docling", &gpt2, false, false},
    {"hunyuan", &qwen2, false, false},
    {"hunyuan-dense", &deepseek_v3, false, false},
    {"lfm2", &llama3, true, true},
    {"llama-bpe", &llama3, true, true},
    {"llama-v3", &llama3, true, true},
    {"llama3", &llama3, true, true},
    {"llama4", &gpt4o, false, false},
    {"megrez", &qwen2, false, false},
    {"mpt", &gpt2, false, false},
    {"olmo", &gpt2, false, false},
    {"phi-2", &gpt2, false, false},
    {"pixtral", &llama3, true, true},
    {"qwen2", &qwen2, false, false},
    {"qwen35", &qwen35, false, false},
    {"refact", &digits_gpt2, false, false},
    {"smaug-bpe", &llama3, false, false},
    {"smollm", &digits_gpt2, false, false},
    {"stablelm2", &qwen2, false, false},
    {"starcoder", &digits_gpt2, false, false},
    {"tekken", &tekken, true, true},
};

const struct nano_pre_row *nano_pre_at(size_t i)
{
    return i < sizeof rows / sizeof *rows ? &rows[i] : NULL;
}

const struct nano_pre_row *nano_pre_find(const char *name, size_t num_bytes)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strlen(rows[i].name) == num_bytes && memcmp(rows[i].name, name, num_bytes) == 0)
            return &rows[i];
    return NULL;
}
