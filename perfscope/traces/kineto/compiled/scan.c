#include "scan.h"

#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum { DEEPEST = 64, LONGEST_NUMBER = 100, LARGEST_EXPONENT = 200 };

/* Whether the text is well-formed UTF-8, without surrogates and overlong forms. */
static bool is_utf8(const unsigned char *at, const unsigned char *end)
{
    while (at < end) {
        unsigned char first = *at++;
        if (first < 0x80)
            continue;
        int more = first >= 0xF0 ? 3 : first >= 0xE0 ? 2 : 1;
        if (first < 0xC2 || first > 0xF4 || end - at < more)
            return false;
        unsigned char low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
        unsigned char high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
        if (at[0] < low || at[0] > high)
            return false;
        for (int i = 1; i < more; i++)
            if (at[i] < 0x80 || at[i] > 0xBF)
                return false;
        at += more;
    }
    return true;
}

static bool is_hex_digit(char digit)
{
    char lower = digit | 32;
    return (digit >= '0' && digit <= '9') || (lower >= 'a' && lower <= 'f');
}

static bool is_hex(const char *at)
{
    for (int i = 0; i < 4; i++)
        if (!is_hex_digit(at[i]))
            return false;
    return true;
}

/* Whether the escape is half of a surrogate pair: the `second`, from \uDC00 on, or the first. */
static bool is_half(const char *at, bool second)
{
    char digit = at[3] | 32; /* of \uD800: 8 to B is the first half, C to F the second */
    bool is_second = digit >= 'c' && digit <= 'f';
    bool is_first = at[3] == '8' || at[3] == '9' || digit == 'a' || digit == 'b';
    return (at[2] | 32) == 'd' && (second ? is_second : is_first);
}

/* The position after an escape sequence or a surrogate pair. NULL for an escape that JSON does not
   have, and for half of a surrogate pair. */
static const char *past_escape(const char *at, const char *end)
{
    if (end - at < 2)
        return NULL;
    if (at[1] != 'u')
        return at[1] && strchr("\"\\/bfnrt", at[1]) ? at + 2 : NULL;
    if (end - at < 6 || !is_hex(at + 2) || is_half(at, true))
        return NULL;
    if (!is_half(at, false))
        return at + 6;
    if (end - at < 12 || at[6] != '\\' || at[7] != 'u' || !is_hex(at + 8))
        return NULL;
    return is_half(at + 6, true) ? at + 12 : NULL;
}

/* The position of the next quote, backslash or control character. `high` is set if a byte before it
   is not ASCII. */
static const char *past_plain(const char *at, const char *end, bool *high)
{
#ifdef __SSE2__
    const __m128i quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8('\\');
    const __m128i control = _mm_set1_epi8(0x1F);
    int seen = 0;
    while (end - at >= 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)at);
        __m128i stop = _mm_or_si128(_mm_cmpeq_epi8(bytes, quote), _mm_cmpeq_epi8(bytes, slash));
        stop = _mm_or_si128(stop, _mm_cmpeq_epi8(_mm_max_epu8(bytes, control), control));
        int mask = _mm_movemask_epi8(stop), top = _mm_movemask_epi8(bytes);
        if (mask) {
            int first = __builtin_ctz((unsigned)mask);
            *high |= (seen | (top & ((1 << first) - 1))) != 0;
            return at + first;
        }
        seen |= top;
        at += 16;
    }
    *high |= seen != 0;
#endif
    while (at < end && *at != '"' && *at != '\\' && (unsigned char)*at > 0x1F)
        *high |= (unsigned char)*at++ >= 0x80;
    return at;
}

bool scan_string(Cursor *text, Token *found)
{
    if (!take(text, '"'))
        return false;
    const char *at = text->at, *end = text->end;
    bool high = false;
    *found = (Token){.kind = STRING, .begin = at};
    for (;;) {
        at = past_plain(at, end, &high);
        if (at >= end)
            return false;
        if (*at == '"')
            break;
        if (*at != '\\' || !(at = past_escape(at, end)))
            return false;
        found->escaped = true;
    }
    found->end = at;
    text->at = at + 1;
    return !high || is_utf8((const unsigned char *)found->begin, (const unsigned char *)at);
}

static const char *past_digits(const char *at, const char *end)
{
    while (at < end && (unsigned char)(*at - '0') < 10)
        at++;
    return at;
}

/* Whether an exponent is small enough for a double. Python decides about larger numbers. */
static bool is_moderate(const char *digits, const char *end)
{
    int exponent = 0;
    if (end - digits > 3)
        return false;
    while (digits < end)
        exponent = exponent * 10 + (*digits++ - '0');
    return exponent <= LARGEST_EXPONENT;
}

static bool scan_number(Cursor *text, Token *found)
{
    const char *at = text->at, *end = text->end, *from;
    *found = (Token){.kind = NUMBER, .begin = at};
    at += *at == '-';
    from = at;
    at = past_digits(at, end);
    if (at == from || (*from == '0' && at - from > 1))
        return false;
    if (at < end && *at == '.') {
        found->point = at;
        from = ++at;
        if ((at = past_digits(at, end)) == from)
            return false;
    }
    if (at < end && (*at | 32) == 'e') {
        found->exponent = true;
        at++;
        at += at < end && (*at == '+' || *at == '-');
        from = at;
        if ((at = past_digits(at, end)) == from || !is_moderate(from, at))
            return false;
    }
    found->end = text->at = at;
    return at - found->begin <= LONGEST_NUMBER;
}

static bool scan_word(Cursor *text, Token *found, const char *word, Kind kind)
{
    size_t length = strlen(word);
    if ((size_t)(text->end - text->at) < length || memcmp(text->at, word, length))
        return false;
    *found = (Token){.kind = kind, .begin = text->at, .end = text->at + length};
    text->at += length;
    return true;
}

bool scan_key(Cursor *text, Token *found)
{
    if (!scan_string(text, found) || found->escaped)
        return false;
    skip_space(text);
    if (!take(text, ':'))
        return false;
    skip_space(text);
    return true;
}

bool scan_separator(Cursor *text, char close, bool *more)
{
    skip_space(text);
    *more = take(text, ',');
    if (!*more)
        return take(text, close);
    skip_space(text);
    return true;
}

static bool scan_within(Cursor *text, Token *found, int depth)
{
    const char *begin = text->at++;
    char close = *begin == '{' ? '}' : ']';
    bool more = true;
    Token ignored;
    if (depth >= DEEPEST)
        return false;
    skip_space(text);
    if (take(text, close))
        more = false;
    while (more) {
        if (close == '}' && !scan_key(text, &ignored))
            return false;
        if (!scan_value(text, &ignored, depth + 1) || !scan_separator(text, close, &more))
            return false;
    }
    *found = (Token){.kind = close == '}' ? OBJECT : ARRAY, .begin = begin, .end = text->at};
    return true;
}

bool scan_value(Cursor *text, Token *found, int depth)
{
    if (text->at >= text->end)
        return false;
    switch (*text->at) {
    case '"':
        return scan_string(text, found);
    case '{':
    case '[':
        return scan_within(text, found, depth);
    case 'n':
        return scan_word(text, found, "null", NULL_VALUE);
    case 't':
        return scan_word(text, found, "true", BOOLEAN);
    case 'f':
        return scan_word(text, found, "false", BOOLEAN);
    case '-':
    case '0': case '1': case '2': case '3': case '4':
    case '5': case '6': case '7': case '8': case '9':
        return scan_number(text, found);
    default:
        return false;
    }
}
