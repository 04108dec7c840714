/* tokenizer.model: a small reader for SentencePiece's protobuf. Fields that it does not know are
 * skipped by their wire type; so are known ones of another wire type's message. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "format/little_endian.h"
#include "format/tok_files.h"

enum wire_type { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

struct reader {
    const unsigned char *at, *end;
    const struct nano_tok *tok;
    const char *message; /* its name, for errors */
};

struct field {
    uint32_t number;
    enum wire_type type;
    uint64_t value;             /* varint and fixed */
    const unsigned char *bytes; /* of WIRE_BYTES, `value` many */
};

static enum nano_status broken(const struct reader *reader, const char *what,
                               struct nano_error *err)
{
    return nano_error_set(err, NANO_ERR_FORMAT, "%s: %s: %s, expected SentencePiece's protobuf",
                          reader->tok->path, reader->message, what);
}

static bool read_varint(struct reader *reader, uint64_t *out)
{
    uint64_t value = 0;
    for (int shift = 0; shift < 70 && reader->at < reader->end; shift += 7) {
        unsigned char byte = *reader->at++;
        if (shift < 64)
            value |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80) {
            *out = value;
            return true;
        }
    }
    return false;
}

/* The next field; the caller has checked that the message goes on. */
static enum nano_status next_field(struct reader *reader, struct field *out, struct nano_error *err)
{
    uint64_t tag;
    if (!read_varint(reader, &tag))
        return broken(reader, "a field's tag is cut off or too long", err);
    if (tag >> 3 == 0 || tag >> 3 > UINT32_MAX)
        return broken(reader, "a field has an invalid number", err);
    *out = (struct field){.number = (uint32_t)(tag >> 3), .type = (enum wire_type)(tag & 7)};
    size_t left = (size_t)(reader->end - reader->at), size = 0;
    switch (out->type) {
    case WIRE_VARINT:
        if (!read_varint(reader, &out->value))
            return broken(reader, "a number is cut off or too long", err);
        return NANO_OK;
    case WIRE_FIXED32:
    case WIRE_FIXED64:
        size = out->type == WIRE_FIXED32 ? 4 : 8;
        if (size > left)
            return broken(reader, "a number is cut off", err);
        out->value = nano_le_load(reader->at, size);
        break;
    case WIRE_BYTES:
        if (!read_varint(reader, &out->value))
            return broken(reader, "a length is cut off or too long", err);
        left = (size_t)(reader->end - reader->at);
        if (out->value > left)
            return broken(reader, "a field is longer than its message", err);
        out->bytes = reader->at;
        size = (size_t)out->value;
        break;
    default:
        return broken(reader, "a field has an unknown wire type", err);
    }
    reader->at += size;
    return NANO_OK;
}

/* What of the specs matters here, with the defaults of sentencepiece_model.proto. */
struct model {
    size_t num_pieces;
    int64_t model_type; /* 1 Unigram, 2 BPE */
    int64_t unk, bos, eos, pad;
    bool add_dummy_prefix, remove_extra_whitespaces;
    const unsigned char *charsmap;
    size_t charsmap_bytes;
};

static int64_t as_int32(uint64_t value)
{
    return (int32_t)(uint32_t)value;
}

static enum nano_status read_trainer(struct reader reader, struct model *model,
                                     struct nano_error *err)
{
    while (reader.at < reader.end) {
        struct field field;
        enum nano_status status = next_field(&reader, &field, err);
        if (status != NANO_OK)
            return status;
        if (field.type != WIRE_VARINT)
            continue;
        if (field.number == 3)
            model->model_type = as_int32(field.value);
        else if (field.number == 40)
            model->unk = as_int32(field.value);
        else if (field.number == 41)
            model->bos = as_int32(field.value);
        else if (field.number == 42)
            model->eos = as_int32(field.value);
        else if (field.number == 43)
            model->pad = as_int32(field.value);
    }
    return NANO_OK;
}

static enum nano_status read_normalizer(struct reader reader, struct model *model,
                                        struct nano_error *err)
{
    while (reader.at < reader.end) {
        struct field field;
        enum nano_status status = next_field(&reader, &field, err);
        if (status != NANO_OK)
            return status;
        if (field.number == 2 && field.type == WIRE_BYTES) {
            model->charsmap = field.bytes;
            model->charsmap_bytes = (size_t)field.value;
        } else if (field.number == 3 && field.type == WIRE_VARINT) {
            model->add_dummy_prefix = field.value != 0;
        } else if (field.number == 4 && field.type == WIRE_VARINT) {
            model->remove_extra_whitespaces = field.value != 0;
        }
    }
    return NANO_OK;
}

/* SentencePiece's types are GGUF's. */
static enum nano_status read_piece(struct reader reader, struct nano_tok *tok, size_t id,
                                   struct nano_error *err)
{
    const char *text = "";
    size_t num_bytes = 0;
    float score = 0;
    uint64_t type = NANO_TOK_NORMAL;
    while (reader.at < reader.end) {
        struct field field;
        enum nano_status status = next_field(&reader, &field, err);
        if (status != NANO_OK)
            return status;
        if (field.number == 1 && field.type == WIRE_BYTES) {
            text = (const char *)field.bytes;
            num_bytes = (size_t)field.value;
        } else if (field.number == 2 && field.type == WIRE_FIXED32) {
            uint32_t bits = (uint32_t)field.value;
            memcpy(&score, &bits, sizeof score);
        } else if (field.number == 3 && field.type == WIRE_VARINT) {
            type = field.value;
        }
    }
    if (type < NANO_TOK_NORMAL || type > NANO_TOK_BYTE)
        return nano_error_set(err, NANO_ERR_FORMAT,
                              "%s: pieces[%zu].type: %" PRIu64 ", expected 1 to 6", tok->path, id,
                              type);
    if (!isfinite(score))
        return nano_error_set(err, NANO_ERR_FORMAT, "%s: pieces[%zu].score: expected a number",
                              tok->path, id);
    return nano_tok_add(tok, (int64_t)id, text, num_bytes, score, (enum nano_tok_type)type, err);
}

/* Pieces are counted first, so that ids have room. */
static enum nano_status walk(struct reader reader, struct nano_tok *tok, struct model *model,
                             bool adds, struct nano_error *err)
{
    enum nano_status status;
    size_t id = 0;
    while (reader.at < reader.end) {
        struct field field;
        NANO_TRY(next_field(&reader, &field, err));
        if (field.type != WIRE_BYTES)
            continue;
        struct reader child = {field.bytes, field.bytes + field.value, tok, "pieces"};
        if (field.number == 1 && adds)
            NANO_TRY(read_piece(child, tok, id, err));
        id += field.number == 1;
        child.message = field.number == 2 ? "trainer_spec" : "normalizer_spec";
        if (field.number == 2 && !adds)
            NANO_TRY(read_trainer(child, model, err));
        if (field.number == 3 && !adds)
            NANO_TRY(read_normalizer(child, model, err));
    }
    model->num_pieces = id;
    return NANO_OK;
fail:
    return status;
}

static int64_t role(const struct model *model, int64_t id)
{
    return id >= 0 && (uint64_t)id < model->num_pieces ? id : -1;
}

enum nano_status nano_tok_sentencepiece(struct nano_tok *tok, const void *data, size_t num_bytes,
                                        struct nano_error *err)
{
    enum nano_status status;
    struct model model = {.model_type = 1,
                          .bos = 1,
                          .eos = 2,
                          .pad = -1,
                          .add_dummy_prefix = true,
                          .remove_extra_whitespaces = true};
    const unsigned char *bytes = data;
    struct reader reader = {bytes, num_bytes ? bytes + num_bytes : bytes, tok, "model"};
    NANO_TRY(walk(reader, tok, &model, false, err));
    if (model.num_pieces == 0)
        return nano_error_set(err, NANO_ERR_FORMAT,
                              "%s: pieces: there are none, expected SentencePiece's protobuf or "
                              "tiktoken's lines of base64 and rank",
                              tok->path);
    if (model.model_type != 1 && model.model_type != 2)
        return nano_error_set(err, NANO_ERR_UNSUPPORTED,
                              "%s: trainer_spec.model_type: %" PRId64
                              ", expected 1 (Unigram) or 2 (BPE)",
                              tok->path, model.model_type);
    NANO_TRY(nano_tok_expect(tok, model.num_pieces, err));
    NANO_TRY(walk(reader, tok, &model, true, err));
    tok->model = model.model_type == 1 ? "t5" : "llama";
    tok->pre = "default";
    tok->has_scores = true;
    tok->roles[NANO_TOK_UNK] = role(&model, model.unk);
    tok->roles[NANO_TOK_BOS] = role(&model, model.bos);
    tok->roles[NANO_TOK_EOS] = role(&model, model.eos);
    tok->roles[NANO_TOK_PAD] = role(&model, model.pad);
    tok->add_space_prefix = model.add_dummy_prefix ? NANO_TOK_YES : NANO_TOK_NO;
    tok->remove_extra_whitespaces = model.remove_extra_whitespaces ? NANO_TOK_YES : NANO_TOK_NO;
    if (model.charsmap_bytes) {
        unsigned char *out =
            nano_meta_add_numbers(tok->builder, "tokenizer.ggml.precompiled_charsmap", NANO_META_U8,
                                  model.charsmap_bytes);
        if (out)
            memcpy(out, model.charsmap, model.charsmap_bytes);
    }
    return NANO_OK;
fail:
    return status;
}
