/* JSON as strict as its grammar: whatever is not exactly that is refused, and the Python way decides what to make of it. */
#ifndef PERFSCOPE_SCAN_H
#define PERFSCOPE_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    const char *at, *end;
} Cursor;

typedef enum { NOTHING, NULL_VALUE, BOOLEAN, NUMBER, STRING, ARRAY, OBJECT } Kind;

/* A value as it stands in the text; a string without its quotes. */
typedef struct {
    Kind kind;
    bool escaped; /* a string with a backslash in it */
    bool exponent;
    const char *begin, *end;
    const char *point; /* the decimal point of a number, NULL without one */
} Token;

void skip_space(Cursor *text);
bool take(Cursor *text, char expected);
bool scan_string(Cursor *text, Token *found);
bool scan_value(Cursor *text, Token *found, int depth);

/* Takes the key of a member with its colon; false also for a key with escapes. */
bool scan_key(Cursor *text, Token *found);

/* After a member or element: true and *more = true past a comma, *more = false past `close`. */
bool scan_separator(Cursor *text, char close, bool *more);

#endif
