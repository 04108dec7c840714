/* Integers beyond 64 bits: sums and products, in limbs of nine decimal digits. */
#include <stdio.h>
#include <string.h>

#include "chat/jinja.h"

#define LIMB 1000000000u
#define MAX_LIMBS 478 /* about as many digits as Python prints */

struct big {
    bool minus;
    size_t num; /* limbs, the least one first; none is zero */
    uint32_t *limbs;
};

static struct big make(struct nano_jinja *j, size_t num)
{
    if (num > MAX_LIMBS)
        nano_jinja_fail(j, "an integer of more than %d digits", MAX_LIMBS * 9);
    return (struct big){false, num, nano_jinja_alloc(j, num, sizeof(uint32_t))};
}

static struct big from_value(struct nano_jinja *j, struct nano_value v)
{
    char digits[24];
    const char *s = digits;
    size_t num_digits;
    if (v.kind == NANO_BIG) {
        s = v.str->s;
        num_digits = v.str->num_bytes;
    } else {
        num_digits = (size_t)snprintf(digits, sizeof digits, "%lld",
                                      v.kind == NANO_BOOL ? (long long)v.b : (long long)v.i);
    }
    bool minus = s[0] == '-';
    s += minus;
    num_digits -= minus;
    struct big big = make(j, (num_digits + 8) / 9);
    big.minus = minus;
    for (size_t i = 0; i < num_digits; i++) {
        uint32_t *limb = &big.limbs[(num_digits - 1 - i) / 9];
        *limb = *limb * 10 + (uint32_t)(s[i] - '0');
    }
    while (big.num > 0 && big.limbs[big.num - 1] == 0)
        big.num--;
    return big;
}

static struct nano_value to_value(struct nano_jinja *j, struct big big)
{
    size_t from = j->out_bytes;
    while (big.num > 0 && big.limbs[big.num - 1] == 0)
        big.num--;
    nano_jinja_printf(j, "%s%u", big.minus && big.num ? "-" : "",
                      big.num ? big.limbs[big.num - 1] : 0);
    for (size_t i = big.num; i-- > 1;)
        nano_jinja_printf(j, "%09u", big.limbs[i - 1]);
    struct nano_value text = nano_jinja_take(j, from);
    return nano_jinja_parse_int(j, text.str->s, text.str->num_bytes, 10);
}

static int compare_sizes(struct big a, struct big b)
{
    if (a.num != b.num)
        return a.num < b.num ? -1 : 1;
    for (size_t i = a.num; i-- > 0;)
        if (a.limbs[i] != b.limbs[i])
            return a.limbs[i] < b.limbs[i] ? -1 : 1;
    return 0;
}

static struct big add(struct nano_jinja *j, struct big a, struct big b)
{
    if (a.minus != b.minus && compare_sizes(a, b) < 0)
        return add(j, b, a);
    int64_t sign = a.minus == b.minus ? 1 : -1, carry = 0;
    struct big sum = make(j, (a.num > b.num ? a.num : b.num) + 1);
    sum.minus = a.minus;
    for (size_t i = 0; i < sum.num; i++) {
        carry +=
            (i < a.num ? (int64_t)a.limbs[i] : 0) + sign * (i < b.num ? (int64_t)b.limbs[i] : 0);
        int64_t limb = carry % (int64_t)LIMB;
        if (limb < 0)
            limb += LIMB;
        sum.limbs[i] = (uint32_t)limb;
        carry = (carry - limb) / (int64_t)LIMB;
    }
    return sum;
}

static struct big multiply(struct nano_jinja *j, struct big a, struct big b)
{
    struct big product = make(j, a.num + b.num);
    product.minus = a.minus != b.minus;
    nano_jinja_step(j, a.num * b.num / 16);
    for (size_t i = 0; i < a.num; i++) {
        uint64_t carry = 0;
        for (size_t k = 0; k < b.num || carry; k++) {
            carry += product.limbs[i + k] + (k < b.num ? (uint64_t)a.limbs[i] * b.limbs[k] : 0);
            product.limbs[i + k] = (uint32_t)(carry % LIMB);
            carry /= LIMB;
        }
    }
    while (product.num > 0 && product.limbs[product.num - 1] == 0)
        product.num--;
    return product;
}

struct nano_value nano_big_binary(struct nano_jinja *j, char op, struct nano_value a,
                                  struct nano_value b)
{
    struct big x = from_value(j, a), y;
    if (op == 'p') {
        struct big power = from_value(j, nano_value_int(1));
        for (int64_t exponent = nano_value_to_int(j, b, "**"); exponent > 0; exponent >>= 1) {
            if (exponent & 1)
                power = multiply(j, power, x);
            if (exponent > 1)
                x = multiply(j, x, x);
        }
        return to_value(j, power);
    }
    y = from_value(j, b);
    if (op == '-')
        y.minus = !y.minus;
    if (op != '+' && op != '-' && op != '*')
        nano_jinja_fail(j, "integers of more than 64 bits cannot be divided");
    return to_value(j, op == '*' ? multiply(j, x, y) : add(j, x, y));
}
