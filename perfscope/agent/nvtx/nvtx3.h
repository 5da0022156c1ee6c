/* The declarations of NVTX 3 that a tool needs, written from its published interface
 * (nvtx3/nvToolsExt.h, nvtxDetail/nvtxTypes.h). */
#ifndef PERFSCOPE_NVTX3_H
#define PERFSCOPE_NVTX3_H

#include <stddef.h>
#include <stdint.h>

enum { MODULE_CORE = 1, MODULE_CORE2 = 5 };
enum { EXPORT_TABLE_CALLBACKS = 1 };

enum {
    CORE_MARK_EX = 1,
    CORE_MARK_A,
    CORE_MARK_W,
    CORE_RANGE_START_EX,
    CORE_RANGE_START_A,
    CORE_RANGE_START_W,
    CORE_RANGE_END,
    CORE_RANGE_PUSH_EX,
    CORE_RANGE_PUSH_A,
    CORE_RANGE_PUSH_W,
    CORE_RANGE_POP,
    CORE_NAME_CATEGORY_A,
    CORE_NAME_CATEGORY_W
};

enum {
    CORE2_DOMAIN_MARK_EX = 1,
    CORE2_DOMAIN_RANGE_START_EX,
    CORE2_DOMAIN_RANGE_END,
    CORE2_DOMAIN_RANGE_PUSH_EX,
    CORE2_DOMAIN_RANGE_POP,
    CORE2_DOMAIN_NAME_CATEGORY_A = 8,
    CORE2_DOMAIN_NAME_CATEGORY_W,
    CORE2_DOMAIN_REGISTER_STRING_A,
    CORE2_DOMAIN_REGISTER_STRING_W,
    CORE2_DOMAIN_CREATE_A,
    CORE2_DOMAIN_CREATE_W
};

enum { MESSAGE_ASCII = 1, MESSAGE_UNICODE = 2, MESSAGE_REGISTERED = 3 };
enum {
    PAYLOAD_UINT64 = 1,
    PAYLOAD_INT64,
    PAYLOAD_DOUBLE,
    PAYLOAD_UINT32,
    PAYLOAD_INT32,
    PAYLOAD_FLOAT
};

#define NO_PUSH_POP_TRACKING (-2)

/* nvtxEventAttributes_t of NVTX_VERSION 2 and 3: 48 bytes. */
typedef struct {
    uint16_t version;
    uint16_t size;
    uint32_t category;
    int32_t color_type;
    uint32_t color;
    int32_t payload_type;
    int32_t reserved;
    union {
        uint64_t u64;
        int64_t i64;
        double f64;
        uint32_t u32;
        int32_t i32;
        float f32;
    } payload;
    int32_t message_type;
    union {
        const char *ascii;
        const wchar_t *unicode;
        void *registered;
    } message;
} event_attributes;

typedef void (*function)(void);

typedef struct {
    size_t struct_size;
    int (*get_module_function_table)(int module, function ***table, unsigned int *size);
} callbacks_table;

typedef const void *(*get_export_table)(uint32_t id);

#endif
