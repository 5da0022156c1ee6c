#include "piece.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    Token phase, category, name, process, thread, ts, dur;
    bool has_arguments;
} Event;

typedef struct {
    const Plan *plan;
    Piece *piece;
    Cursor text;
    Token values[MOST_KEYS];
    uint64_t filled; /* one bit per key: the values that belong to this event */
} Reader;

int number_columns(const Layout *layout) { return 4 + layout->number_count; }
int code_columns(const Layout *layout)
{
    return 1 + layout->with_category + layout->name_count + layout->text_count;
}

static size_t key_slot(const char *at, size_t length)
{
    const unsigned char *text = (const unsigned char *)at;
    if (!length)
        return 0;
    size_t ends = text[0] * 31u + text[length - 1] * 3u;
    return (length * 7 + ends + text[length / 2] * 11u) % KEY_SLOTS;
}

void index_keys(Plan *plan)
{
    memset(plan->key_slots, 0, sizeof plan->key_slots);
    for (int i = 0; i < plan->key_count; i++) {
        size_t slot = key_slot(plan->keys[i].text, plan->keys[i].length);
        while (plan->key_slots[slot])
            slot = (slot + 1) % KEY_SLOTS;
        plan->key_slots[slot] = (uint8_t)(i + 1);
    }
}

static bool is_text(const Token *token, const char *text, size_t length)
{
    return (size_t)(token->end - token->begin) == length && !memcmp(token->begin, text, length);
}

static int key_number(const Plan *plan, const Token *key)
{
    size_t slot = key_slot(key->begin, (size_t)(key->end - key->begin));
    for (; plan->key_slots[slot]; slot = (slot + 1) % KEY_SLOTS) {
        int number = plan->key_slots[slot] - 1;
        if (is_text(key, plan->keys[number].text, plan->keys[number].length))
            return number;
    }
    return -1;
}

static bool read_arguments(Reader *reader)
{
    Cursor *text = &reader->text;
    bool more = true;
    Token key, value;
    if (!take(text, '{'))
        return false;
    skip_space(text);
    if (take(text, '}'))
        return true;
    while (more) {
        if (!scan_key(text, &key))
            return false;
        int number = key_number(reader->plan, &key);
        if (!scan_value(text, number < 0 ? &value : &reader->values[number], 2))
            return false;
        if (number >= 0) {
            if (reader->filled >> number & 1)
                return false; /* the key is repeated */
            reader->filled |= 1ull << number;
        }
        if (!scan_separator(text, '}', &more))
            return false;
    }
    return true;
}

static Token *member(Event *event, const Token *key)
{
    switch (key->end - key->begin) {
    case 2:
        return is_text(key, "ph", 2) ? &event->phase : is_text(key, "ts", 2) ? &event->ts : NULL;
    case 3:
        return is_text(key, "cat", 3)   ? &event->category
               : is_text(key, "pid", 3) ? &event->process
               : is_text(key, "tid", 3) ? &event->thread
               : is_text(key, "dur", 3) ? &event->dur
                                        : NULL;
    case 4:
        return is_text(key, "name", 4) ? &event->name : NULL;
    default:
        return NULL;
    }
}

static bool read_members(Reader *reader, Event *event)
{
    Cursor *text = &reader->text;
    bool more = true;
    Token key, ignored;
    skip_space(text);
    if (take(text, '}'))
        return true;
    while (more) {
        if (!scan_key(text, &key))
            return false;
        if (is_text(&key, "args", 4)) {
            if (event->has_arguments || !read_arguments(reader))
                return false;
            event->has_arguments = true;
        } else {
            Token *found = member(event, &key);
            if (found && found->kind != NOTHING)
                return false; /* the key is repeated */
            if (!scan_value(text, found ? found : &ignored, 1))
                return false;
        }
        if (!scan_separator(text, '}', &more))
            return false;
    }
    return true;
}

static bool grow(Rows *rows, const Layout *layout)
{
    size_t capacity = rows->capacity ? rows->capacity * 2 : 1024;
    for (int i = 0; i < number_columns(layout); i++) {
        int64_t *more = realloc(rows->numbers[i], capacity * sizeof *more);
        if (!more)
            return false;
        rows->numbers[i] = more;
    }
    for (int i = 0; i < code_columns(layout); i++) {
        int32_t *more = realloc(rows->codes[i], capacity * sizeof *more);
        if (!more)
            return false;
        rows->codes[i] = more;
    }
    rows->capacity = capacity;
    return true;
}

static const Token nothing = {.kind = NOTHING};

static const Token *value_of(const Reader *reader, int key)
{
    return reader->filled >> key & 1 ? &reader->values[key] : &nothing;
}

/* Stores the code of a text in column `at`, -1 for none. `whole`: the JSON text of any value, with
   the quotes of a string. */
static bool put_code(Rows *rows, int at, const Token *value, bool whole)
{
    int32_t code = -1;
    if (value->kind == STRING || (whole && value->kind != NOTHING)) {
        Token text = *value;
        if (whole && value->kind == STRING)
            text.begin--, text.end++;
        text.escaped = !whole && value->escaped;
        if ((code = number_of(&rows->names[at], &text)) < 0)
            return false;
    } else if (value->kind != NOTHING && value->kind != NULL_VALUE) {
        return false;
    }
    rows->codes[at][rows->count] = code;
    return true;
}

static bool put_row(Reader *reader, const Event *event, int group)
{
    const Layout *layout = &reader->plan->layouts[group];
    Rows *rows = &reader->piece->rows[group];
    int64_t ts, dur = 0, *number;
    int column = 0;
    rows->seen = true;
    if (!nanoseconds(&event->ts, &ts))
        return false;
    bool has_dur = event->dur.kind != NOTHING && event->dur.kind != NULL_VALUE;
    if (has_dur && !nanoseconds(&event->dur, &dur))
        return false;
    if (ts == BAD || dur < 0 || dur >= DAY_NS) {
        reader->piece->impossible++;
        reader->piece->negative += ts != BAD && dur != BAD && dur < 0;
        return true;
    }
    if (rows->count == rows->capacity && !grow(rows, layout))
        return false;
    rows->numbers[0][rows->count] = ts;
    rows->numbers[1][rows->count] = dur;
    if (!whole_number(&event->process, &rows->numbers[2][rows->count]) ||
        !whole_number(&event->thread, &rows->numbers[3][rows->count]))
        return false;
    for (int i = 0; i < layout->number_count; i++) {
        number = &rows->numbers[4 + i][rows->count];
        if (!whole_number(value_of(reader, layout->numbers[i]), number))
            return false;
    }
    if (!put_code(rows, column++, &event->name, false))
        return false;
    if (layout->with_category && !put_code(rows, column++, &event->category, false))
        return false;
    for (int i = 0; i < layout->name_count; i++)
        if (!put_code(rows, column++, value_of(reader, layout->names[i]), false))
            return false;
    for (int i = 0; i < layout->text_count; i++)
        if (!put_code(rows, column++, value_of(reader, layout->texts[i]), true))
            return false;
    rows->count++;
    return true;
}

static bool put_metadata(Piece *piece, const char *begin, const char *end)
{
    if (piece->metadata_count == piece->metadata_capacity) {
        size_t capacity = piece->metadata_capacity ? piece->metadata_capacity * 2 : 64;
        Slice *more = realloc(piece->metadata, capacity * sizeof *more);
        if (!more)
            return false;
        piece->metadata = more;
        piece->metadata_capacity = capacity;
    }
    piece->metadata[piece->metadata_count++] = (Slice){begin, end};
    return true;
}

static bool read_event(Reader *reader)
{
    const Plan *plan = reader->plan;
    const char *begin = reader->text.at;
    Event event = {.has_arguments = false};
    reader->filled = 0;
    if (!take(&reader->text, '{') || !read_members(reader, &event))
        return false;
    reader->piece->events++;
    const Token *phase = &event.phase;
    if (phase->kind == NOTHING || phase->kind == NULL_VALUE)
        return true;
    if (phase->kind != STRING || phase->escaped)
        return false;
    if (is_text(phase, "M", 1))
        return put_metadata(reader->piece, begin, reader->text.at);
    if (is_text(phase, "i", 1)) {
        if (event.name.kind != STRING || event.name.escaped)
            return false;
        if (is_text(&event.name, plan->instant.text, plan->instant.length))
            return put_row(reader, &event, plan->instant.value);
        return true;
    }
    const Token *category = &event.category;
    if (!is_text(phase, "X", 1) || category->kind == NOTHING || category->kind == NULL_VALUE)
        return true;
    if (category->kind != STRING || category->escaped)
        return false;
    for (int i = 0; i < plan->category_count; i++) {
        const Word *known = &plan->categories[i];
        if (is_text(category, known->text, known->length))
            return put_row(reader, &event, known->value);
    }
    return true;
}

bool read_piece(const Plan *plan, const char *begin, const char *end, Piece *piece)
{
    Reader reader = {.plan = plan, .piece = piece, .text = {begin, end}};
    Cursor *text = &reader.text;
    piece->ended_at = -1;
    skip_space(text);
    bool more = text->at < end && *text->at != ']';
    while (more) {
        if (!read_event(&reader))
            return false;
        skip_space(text);
        more = take(text, ',');
        if (more)
            skip_space(text);
        else if (text->at < end && *text->at != ']')
            return false;
    }
    if (take(text, ']'))
        piece->ended_at = text->at - begin;
    return true;
}

void forget_piece(Piece *piece)
{
    for (int group = 0; group < MOST_GROUPS; group++) {
        Rows *rows = &piece->rows[group];
        for (size_t i = 0; i < sizeof rows->numbers / sizeof *rows->numbers; i++)
            free(rows->numbers[i]);
        for (size_t i = 0; i < sizeof rows->codes / sizeof *rows->codes; i++) {
            free(rows->codes[i]);
            forget_names(&rows->names[i]);
        }
    }
    free(piece->metadata);
}
