#define _GNU_SOURCE /* strtod_l */
#include "numbers.h"

#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* In microseconds, as in columns.py. */
#define EXACT_FLOAT_US 8.7e12
#define LATEST_US 4000000000000000LL

/* Traces have decimal points, in whatever locale perfscope runs. */
static locale_t plain;

bool prepare_numbers(void)
{
    if (!plain)
        plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    return plain != (locale_t)0;
}

enum { LONGEST_DECIMAL = 25 }; /* decimal.Decimal rounds products beyond 28 digits */

static int64_t digits(const char *at, const char *end)
{
    int64_t value = 0;
    while (at < end)
        value = value * 10 + (*at++ - '0');
    return value;
}

bool whole_number(const Token *token, int64_t *found)
{
    *found = MISSING;
    if (token->kind == NOTHING || token->kind == NULL_VALUE)
        return true;
    if (token->kind != NUMBER || token->point || token->exponent)
        return false;
    bool negative = *token->begin == '-';
    const char *at = token->begin + negative;
    if (token->end - at <= 18) {
        *found = negative ? -digits(at, token->end) : digits(at, token->end);
        return true;
    }
    if (token->end - at > 19 || negative)
        return false;
    uint64_t value = (uint64_t)digits(at, at + 18) * 10 + (uint64_t)(at[18] - '0');
    *found = value > INT64_MAX ? MISSING : (int64_t)value;
    return true;
}

/* Converts decimal digits exactly; half a nanosecond is rounded to the even neighbor. */
static bool from_decimal(const char *begin, const char *point, const char *end, int64_t *found)
{
    bool negative = *begin == '-';
    const char *at = begin + negative;
    const char *fraction = point ? point + 1 : end, *stop = point ? point : end;
    if (end - at > LONGEST_DECIMAL)
        return false;
    while (at < stop - 1 && *at == '0')
        at++;
    if (stop - at > 16 || digits(at, stop) >= LATEST_US) {
        *found = BAD;
        return true;
    }
    int64_t ns = digits(at, stop);
    for (int i = 0; i < 3; i++)
        ns = ns * 10 + (fraction < end ? *fraction++ - '0' : 0);
    if (fraction < end) {
        bool above = *fraction > '5', half = *fraction == '5';
        for (fraction++; half && fraction < end; fraction++)
            above |= *fraction != '0';
        ns += above || (half && (ns & 1));
    }
    *found = negative ? -ns : ns;
    return true;
}

static bool is_decimal(const Token *text, const char **point)
{
    const char *at = text->begin + (text->begin < text->end && *text->begin == '-'), *from = at;
    *point = NULL;
    while (at < text->end && (unsigned char)(*at - '0') < 10)
        at++;
    if (at == from)
        return false;
    if (at < text->end && *at == '.') {
        *point = at++;
        from = at;
        while (at < text->end && (unsigned char)(*at - '0') < 10)
            at++;
        if (at == from)
            return false;
    }
    return at == text->end;
}

static double as_double(const Token *token)
{
    char copy[48];
    size_t length = (size_t)(token->end - token->begin);
    memcpy(copy, token->begin, length);
    copy[length] = 0;
    return strtod_l(copy, NULL, plain);
}

static bool from_float(const Token *token, int64_t *found)
{
    if (!token->exponent && token->end - token->point <= 4)
        return from_decimal(token->begin, token->point, token->end, found);
    if (token->end - token->begin > 40)
        return false;
    double us = as_double(token);
    if (!(fabs(us) < EXACT_FLOAT_US))
        return !token->exponent && from_decimal(token->begin, token->point, token->end, found);
    double floored = floor(us);
    *found = (int64_t)floored * 1000 + (int64_t)rint((us - floored) * 1000);
    return true;
}

bool nanoseconds(const Token *token, int64_t *found)
{
    const char *point;
    *found = BAD;
    switch (token->kind) {
    case NOTHING:
    case NULL_VALUE:
        return true;
    case STRING:
        if (token->escaped || !is_decimal(token, &point))
            return false;
        return from_decimal(token->begin, point, token->end, found);
    case NUMBER:
        if (token->point || token->exponent)
            return from_float(token, found);
        return from_decimal(token->begin, NULL, token->end, found);
    default:
        return false;
    }
}
