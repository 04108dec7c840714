/* KV groups: which layers share a block table, and where in a block a layer lies.
 *
 *   layers    w w w w w f w w w w w f w        f: sees everything, w: a window
 *   groups    f: 2 layers   w: 2 of 11 each, the last one 1
 *   a block   │ slot 0 │ slot 1 │               of any group: 2 layers' K and V
 *
 * Since a block of every group has the same size, all groups take theirs from one pool, and blocks
 * that a window has left behind are free for any of them. Where layers differ in shape, each has a
 * slot of its own: then groups still have tables of their own, but a block is as large as all
 * layers. */
#include <string.h>

#include "models/passes.h"

/* More groups make tables longer; fewer leave slots of blocks empty. */
#define FEW_GROUPS 8

static bool same_shape(const struct nano_kv_layer *a, const struct nano_kv_layer *b)
{
    return a->num_kv_heads == b->num_kv_heads && a->head_dim == b->head_dim &&
           a->v_head_dim == b->v_head_dim && a->v_in_k == b->v_in_k;
}

struct window_class {
    int window, num_layers;
};

/* The distinct windows, those that see everything first; 0 where there are too many. */
static int find_classes(const struct nano_program *p, struct window_class *classes)
{
    int count = 1;
    classes[0] = (struct window_class){0};
    for (int i = 0; i < p->num_kv_layers; i++) {
        int c = 0;
        while (c < count && classes[c].window != p->kv_layers[i].window)
            c++;
        if (c == NANO_MAX_KV_GROUPS)
            return 0;
        if (c == count)
            classes[count++] = (struct window_class){.window = p->kv_layers[i].window};
        classes[c].num_layers++;
    }
    if (classes[0].num_layers == 0 && count > 1)
        memmove(classes, classes + 1, (size_t)--count * sizeof *classes);
    return count;
}

static int num_groups(const struct window_class *classes, int count, int num_slots)
{
    int groups = 0;
    for (int c = 0; c < count; c++)
        groups += (classes[c].num_layers + num_slots - 1) / num_slots;
    return groups;
}

enum nano_status nano_program_group_kv(struct nano_program *p, struct nano_error *err)
{
    struct window_class classes[NANO_MAX_KV_GROUPS];
    const int count = find_classes(p, classes);
    if (count == 0)
        return nano_error_set(err, NANO_ERR_UNSUPPORTED, "more than %d different windows",
                              NANO_MAX_KV_GROUPS - 1);
    bool equal = true;
    for (int i = 1; i < p->num_kv_layers; i++)
        equal &= same_shape(&p->kv_layers[0], &p->kv_layers[i]);
    int num_slots = p->num_kv_layers;
    if (equal && num_slots > 0) {
        for (int c = 0; c < count; c++)
            if (classes[c].num_layers < num_slots)
                num_slots = classes[c].num_layers;
        while (count < FEW_GROUPS && num_groups(classes, count, num_slots) > FEW_GROUPS)
            num_slots++;
    }
    p->num_kv_slots = num_slots;
    p->num_kv_groups = 0;
    for (int c = 0; c < count; c++) {
        struct nano_kv_group *group = NULL;
        for (int i = 0; i < p->num_kv_layers; i++) {
            struct nano_kv_layer *layer = &p->kv_layers[i];
            if (layer->window != classes[c].window)
                continue;
            if (!group || (equal && group->num_layers == num_slots)) {
                group = &p->kv_groups[p->num_kv_groups++];
                *group = (struct nano_kv_group){.window = layer->window};
            }
            layer->group = p->num_kv_groups - 1;
            layer->slot = equal ? group->num_layers : i;
            group->num_layers++;
        }
    }
    if (p->num_kv_groups == 0)
        p->kv_groups[p->num_kv_groups++] = (struct nano_kv_group){0};
    return NANO_OK;
}
