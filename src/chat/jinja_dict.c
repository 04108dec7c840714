/* Dicts: entries in the order of insertion, with a hash table beside them once there are many. */
#include <string.h>

#include "chat/jinja.h"

#define FEW 8 /* up to here looking at every key is faster */

struct nano_value nano_dict_create(struct nano_jinja *j, size_t capacity)
{
    struct nano_dict *dict = nano_jinja_alloc(j, 1, sizeof *dict);
    dict->capacity = capacity;
    if (capacity)
        dict->entries = nano_jinja_alloc(j, capacity, sizeof *dict->entries);
    return (struct nano_value){.kind = NANO_DICT, .dict = dict};
}

static void put_slot(struct nano_jinja *j, struct nano_dict *dict, size_t entry)
{
    size_t slot = nano_value_hash(j, dict->entries[entry].key) & (dict->num_slots - 1);
    while (dict->slots[slot])
        slot = (slot + 1) & (dict->num_slots - 1);
    dict->slots[slot] = (uint32_t)entry + 1;
}

static void rebuild_slots(struct nano_jinja *j, struct nano_dict *dict)
{
    dict->num_slots = 4;
    while (dict->num_slots < dict->num * 4)
        dict->num_slots *= 2;
    dict->slots = nano_jinja_alloc(j, dict->num_slots, sizeof *dict->slots);
    for (size_t i = 0; i < dict->num; i++)
        put_slot(j, dict, i);
}

static bool same_key(struct nano_jinja *j, struct nano_value a, struct nano_value b)
{
    if (a.kind == NANO_STR && b.kind == NANO_STR)
        return a.str->num_bytes == b.str->num_bytes &&
               memcmp(a.str->s, b.str->s, a.str->num_bytes) == 0;
    return nano_value_equal(j, a, b);
}

static void check_key(struct nano_jinja *j, struct nano_value key)
{
    if (key.kind == NANO_LIST || key.kind == NANO_DICT || key.kind == NANO_TUPLE)
        nano_value_hash(j, key);
}

struct nano_value *nano_dict_find(struct nano_jinja *j, const struct nano_dict *dict,
                                  struct nano_value key)
{
    check_key(j, key);
    if (!dict->slots) {
        for (size_t i = 0; i < dict->num; i++)
            if (same_key(j, dict->entries[i].key, key))
                return &dict->entries[i].value;
        return NULL;
    }
    size_t slot = nano_value_hash(j, key) & (dict->num_slots - 1);
    for (; dict->slots[slot]; slot = (slot + 1) & (dict->num_slots - 1)) {
        nano_jinja_step(j, 1);
        struct nano_entry *entry = &dict->entries[dict->slots[slot] - 1];
        if (same_key(j, entry->key, key))
            return &entry->value;
    }
    return NULL;
}

struct nano_value *nano_dict_find_str(struct nano_jinja *j, const struct nano_dict *dict,
                                      const char *key)
{
    struct nano_str str = {key, strlen(key), SIZE_MAX, false};
    return nano_dict_find(j, dict, (struct nano_value){.kind = NANO_STR, .str = &str});
}

void nano_dict_set(struct nano_jinja *j, struct nano_dict *dict, struct nano_value key,
                   struct nano_value value)
{
    struct nano_value *old = nano_dict_find(j, dict, key);
    if (old) {
        *old = value;
        return;
    }
    if (dict->num == dict->capacity) {
        size_t capacity = dict->capacity ? dict->capacity * 2 : 4;
        struct nano_entry *entries = nano_jinja_alloc(j, capacity, sizeof *entries);
        if (dict->num)
            memcpy(entries, dict->entries, dict->num * sizeof *entries);
        dict->entries = entries;
        dict->capacity = capacity;
    }
    dict->entries[dict->num++] = (struct nano_entry){key, value};
    if (dict->num > FEW && dict->num * 2 > dict->num_slots)
        rebuild_slots(j, dict);
    else if (dict->slots)
        put_slot(j, dict, dict->num - 1);
}
