/* Parser of a piece of the array of events. It does not use Python, so it runs without the GIL. */
#ifndef PERFSCOPE_PIECE_H
#define PERFSCOPE_PIECE_H

#include "names.h"
#include "numbers.h"

enum {
    MOST_KEYS = 64,
    MOST_COLUMNS = 16,
    MOST_GROUPS = 16,
    MOST_CATEGORIES = 128,
    KEY_SLOTS = 256,
};

/* The columns of a group, by the numbers of their keys, in the order of `Rows`. */
typedef struct {
    int numbers[MOST_COLUMNS], names[MOST_COLUMNS], texts[MOST_COLUMNS];
    int number_count, name_count, text_count;
    bool with_category;
} Layout;

typedef struct {
    char *text;
    size_t length;
    int value;
} Word;

/* The columns to read. It is not changed after the first piece. */
typedef struct {
    Word keys[MOST_KEYS], categories[MOST_CATEGORIES], instant;
    int key_count, category_count, group_count;
    uint8_t key_slots[KEY_SLOTS];
    Layout layouts[MOST_GROUPS];
} Plan;

/* The rows of a group. `numbers`: ts, dur, pid, tid, then the numbers of the plan. `codes`: name,
   category, then the names and the texts of the plan. */
typedef struct {
    int64_t *numbers[4 + MOST_COLUMNS];
    int32_t *codes[2 + 2 * MOST_COLUMNS];
    Names names[2 + 2 * MOST_COLUMNS];
    size_t count, capacity;
    bool seen;
} Rows;

typedef struct {
    const char *begin, *end;
} Slice;

typedef struct {
    Rows rows[MOST_GROUPS];
    Slice *metadata;
    size_t metadata_count, metadata_capacity;
    size_t events, impossible, negative; /* `negative` are counted as impossible, too */
    ptrdiff_t ended_at; /* the position after the end of the array, -1 if it continues */
} Piece;

void index_keys(Plan *plan);
int number_columns(const Layout *layout);
int code_columns(const Layout *layout);

/* False for a piece that Python has to parse, and without memory. */
bool read_piece(const Plan *plan, const char *begin, const char *end, Piece *piece);
void forget_piece(Piece *piece);

#endif
