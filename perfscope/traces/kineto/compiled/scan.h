/* A strict JSON scanner. It refuses text that does not follow the grammar exactly; the parser
   in Python decides about it. */
#ifndef PERFSCOPE_SCAN_H
#define PERFSCOPE_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    const char *at, *end;
} Cursor;

typedef enum { NOTHING, NULL_VALUE, BOOLEAN, NUMBER, STRING, ARRAY, OBJECT } Kind;

/* The text of a value; that of a string is without its quotes. */
typedef struct {
    Kind kind;
    bool escaped; /* a string with a backslash */
    bool exponent;
    const char *begin, *end;
    const char *point; /* the decimal point of a number, NULL without one */
} Token;

/* These two are called for each token, so they are compiled into their callers. */
static inline void skip_space(Cursor *text)
{
    const char *at = text->at, *end = text->end;
    while (at < end && (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t'))
        at++;
    text->at = at;
}

static inline bool take(Cursor *text, char expected)
{
    if (text->at >= text->end || *text->at != expected)
        return false;
    text->at++;
    return true;
}

bool scan_string(Cursor *text, Token *found);
bool scan_value(Cursor *text, Token *found, int depth);

/* Reads the key of a member and its colon. False also for a key with escapes. */
bool scan_key(Cursor *text, Token *found);

/* Reads what follows a member or element: a comma sets `more`, `close` clears it. False for
   anything else. */
bool scan_separator(Cursor *text, char close, bool *more);

#endif
