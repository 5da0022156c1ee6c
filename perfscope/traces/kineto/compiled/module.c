/* The Python module: plan(...) is called once, then columns(plan, piece) for each piece, from any
   number of threads. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "nesting.h"
#include "piece.h"

static const char PLAN[] = "perfscope.traces.kineto.compiled.plan";

static void free_plan(Plan *plan)
{
    for (int i = 0; i < plan->key_count; i++)
        free(plan->keys[i].text);
    for (int i = 0; i < plan->category_count; i++)
        free(plan->categories[i].text);
    free(plan->instant.text);
    free(plan);
}

static void forget_plan(PyObject *capsule) { free_plan(PyCapsule_GetPointer(capsule, PLAN)); }

static bool put_word(PyObject *text, int value, Word *word)
{
    Py_ssize_t length;
    const char *bytes = PyUnicode_AsUTF8AndSize(text, &length);
    if (!bytes || !(word->text = malloc((size_t)length + 1)))
        return false;
    memcpy(word->text, bytes, (size_t)length);
    word->length = (size_t)length;
    word->value = value;
    return true;
}

/* Appends the key numbers in a tuple. False for a key that the plan does not have. */
static bool put_columns(PyObject *tuple, const Plan *plan, int *columns, int *count)
{
    Py_ssize_t size = PyTuple_Check(tuple) ? PyTuple_GET_SIZE(tuple) : MOST_COLUMNS + 1;
    if (size > MOST_COLUMNS)
        return false;
    for (Py_ssize_t i = 0; i < size; i++) {
        long key = PyLong_AsLong(PyTuple_GET_ITEM(tuple, i));
        if (key < 0 || key >= plan->key_count)
            return false;
        columns[(*count)++] = (int)key;
    }
    return true;
}

static bool put_layout(PyObject *group, Plan *plan)
{
    Layout *layout = &plan->layouts[plan->group_count++];
    PyObject *numbers, *names, *texts;
    int with_category;
    if (!PyArg_ParseTuple(group, "OOOp", &numbers, &names, &texts, &with_category))
        return false;
    layout->with_category = with_category;
    return put_columns(numbers, plan, layout->numbers, &layout->number_count) &&
           put_columns(names, plan, layout->names, &layout->name_count) &&
           put_columns(texts, plan, layout->texts, &layout->text_count);
}

static bool fill_plan(PyObject *keys, PyObject *groups, PyObject *categories, PyObject *instant,
                      int group, Plan *plan)
{
    PyObject *name, *place;
    Py_ssize_t at = 0;
    if (PyList_GET_SIZE(keys) > MOST_KEYS || PyList_GET_SIZE(groups) > MOST_GROUPS ||
        PyDict_GET_SIZE(categories) > MOST_CATEGORIES)
        return false;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(keys); i++)
        if (!put_word(PyList_GET_ITEM(keys, i), (int)i, &plan->keys[plan->key_count++]))
            return false;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(groups); i++)
        if (!put_layout(PyList_GET_ITEM(groups, i), plan))
            return false;
    while (PyDict_Next(categories, &at, &name, &place)) {
        long value = PyLong_AsLong(place);
        if (value < 0 || value >= plan->group_count ||
            !put_word(name, (int)value, &plan->categories[plan->category_count++]))
            return false;
    }
    return group >= 0 && group < plan->group_count && put_word(instant, group, &plan->instant);
}

static PyObject *make_plan(PyObject *module, PyObject *args)
{
    PyObject *keys, *groups, *categories, *instant;
    int group;
    (void)module;
    if (!PyArg_ParseTuple(args, "O!O!O!Ui", &PyList_Type, &keys, &PyList_Type, &groups,
                          &PyDict_Type, &categories, &instant, &group))
        return NULL;
    Plan *plan = calloc(1, sizeof *plan);
    if (!plan)
        return PyErr_NoMemory();
    if (!fill_plan(keys, groups, categories, instant, group, plan)) {
        free_plan(plan);
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_ValueError, "too many columns for the compiled reader");
        return NULL;
    }
    index_keys(plan);
    return PyCapsule_New(plan, PLAN, forget_plan);
}

/* A list of texts: str, or bytes for a text with escapes, which Python resolves. */
static PyObject *list_of_names(const Names *names)
{
    PyObject *list = PyList_New((Py_ssize_t)names->count);
    for (size_t i = 0; list && i < names->count; i++) {
        const Name *name = &names->names[i];
        PyObject *text = name->escaped ? PyBytes_FromStringAndSize(name->begin, name->length)
                                       : PyUnicode_DecodeUTF8(name->begin, name->length, NULL);
        if (text)
            PyList_SET_ITEM(list, (Py_ssize_t)i, text);
        else
            Py_CLEAR(list);
    }
    return list;
}

/* [bytes of int64 ..., (bytes of int32, texts) ...] in the order of the layout. */
static PyObject *list_of_columns(const Layout *layout, const Rows *rows)
{
    int numbers = number_columns(layout), codes = code_columns(layout);
    Py_ssize_t number_bytes = (Py_ssize_t)(rows->count * sizeof(int64_t));
    Py_ssize_t code_bytes = (Py_ssize_t)(rows->count * sizeof(int32_t));
    PyObject *list = PyList_New(numbers + codes), *column = list;
    for (int i = 0; column && i < numbers + codes; i++) {
        if (i < numbers) {
            column = PyBytes_FromStringAndSize((const char *)rows->numbers[i], number_bytes);
        } else {
            const char *bytes = rows->count ? (const char *)rows->codes[i - numbers] : "";
            PyObject *names = list_of_names(&rows->names[i - numbers]);
            column = Py_BuildValue("(y#N)", bytes, code_bytes, names);
        }
        if (column)
            PyList_SET_ITEM(list, i, column);
    }
    if (!column)
        Py_CLEAR(list);
    return list;
}

/* The result of columns(). */
static PyObject *result_of_piece(const Plan *plan, const Piece *piece)
{
    PyObject *groups = PyList_New(plan->group_count);
    PyObject *metadata = PyList_New((Py_ssize_t)piece->metadata_count);
    bool complete = groups && metadata;
    for (int i = 0; complete && i < plan->group_count; i++) {
        const Rows *rows = &piece->rows[i];
        PyObject *group =
            rows->seen ? list_of_columns(&plan->layouts[i], rows) : Py_NewRef(Py_None);
        if ((complete = group != NULL))
            PyList_SET_ITEM(groups, i, group);
    }
    for (size_t i = 0; complete && i < piece->metadata_count; i++) {
        const Slice *slice = &piece->metadata[i];
        PyObject *text = PyBytes_FromStringAndSize(slice->begin, slice->end - slice->begin);
        if ((complete = text != NULL))
            PyList_SET_ITEM(metadata, (Py_ssize_t)i, text);
    }
    if (complete)
        return Py_BuildValue("nnnnNN", (Py_ssize_t)piece->events, (Py_ssize_t)piece->ended_at,
                             (Py_ssize_t)piece->impossible, (Py_ssize_t)piece->negative,
                             metadata, groups);
    Py_XDECREF(groups);
    Py_XDECREF(metadata);
    return NULL;
}

static PyObject *columns(PyObject *module, PyObject *args)
{
    PyObject *capsule, *result = NULL;
    Py_buffer text;
    bool regular;
    (void)module;
    if (!PyArg_ParseTuple(args, "Oy*", &capsule, &text))
        return NULL;
    const Plan *plan = PyCapsule_GetPointer(capsule, PLAN);
    Piece *piece = plan ? calloc(1, sizeof *piece) : NULL;
    if (piece) {
        Py_BEGIN_ALLOW_THREADS
        regular = read_piece(plan, text.buf, (const char *)text.buf + text.len, piece);
        Py_END_ALLOW_THREADS
        result = regular ? result_of_piece(plan, piece) : Py_NewRef(Py_None);
        forget_piece(piece);
        free(piece);
    } else if (plan) {
        PyErr_NoMemory();
    }
    PyBuffer_Release(&text);
    return result;
}

static PyObject *holders(PyObject *module, PyObject *args)
{
    Py_buffer thread, start, end;
    PyObject *result = NULL;
    bool found = false;
    (void)module;
    if (!PyArg_ParseTuple(args, "y*y*y*", &thread, &start, &end))
        return NULL;
    bool same_length = thread.len == start.len && start.len == end.len;
    if (same_length && thread.len % (Py_ssize_t)sizeof(int64_t) == 0)
        result = PyByteArray_FromStringAndSize(NULL, thread.len);
    else
        PyErr_SetString(PyExc_ValueError, "expected three columns of int64 with the same length");
    if (result) {
        int64_t *holder = (int64_t *)PyByteArray_AS_STRING(result);
        size_t count = (size_t)thread.len / sizeof *holder;
        Py_BEGIN_ALLOW_THREADS
        found = find_holders(thread.buf, start.buf, end.buf, holder, count);
        Py_END_ALLOW_THREADS
        if (!found)
            Py_CLEAR(result);
    }
    PyBuffer_Release(&thread);
    PyBuffer_Release(&start);
    PyBuffer_Release(&end);
    return result || PyErr_Occurred() ? result : PyErr_NoMemory();
}

static PyMethodDef methods[] = {
    {"plan", make_plan, METH_VARARGS,
     "plan(keys, groups, categories, instant, group) -> the columns to read"},
    {"columns", columns, METH_VARARGS,
     "columns(plan, piece) -> (events, ended_at, impossible, negative, metadata, groups), "
     "or None for a piece that Python has to parse"},
    {"holders", holders, METH_VARARGS,
     "holders(thread, start, end) -> bytearray of int64, see nesting.h"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    "compiled_reader",
    "Parser of pieces of a Kineto trace.",
    0,
    methods,
    NULL,
    NULL,
    NULL,
    NULL,
};

PyMODINIT_FUNC PyInit_compiled_reader(void)
{
    return prepare_numbers() ? PyModule_Create(&definition) : PyErr_NoMemory();
}
