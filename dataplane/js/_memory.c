/* Memory for one JavaScript runtime that can be put back as it was: a bump pointer and free lists in one mapping.

   Optional: without it every fresh interpreter is a new runtime. No Python and no engine header is needed; the table
   of functions has the layout that quickjs-ng 0.17 hands on to JS_NewRuntime2. One thread at a time uses a memory. */

#define _GNU_SOURCE
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define ALIGNMENT 16
#define SMALL 1024  /* below it sizes are rounded up to 16, above it to quarters of a power of two */
#define CLASSES 256
#define KEPT (1 << 20)  /* pages further above the image than this go back to the system */

typedef struct { size_t used; void *free[CLASSES]; } Head;  /* at the start of the mapping, so that it is put back too */
typedef struct { Head *head; size_t size; void *copy; size_t copied; } Memory;
typedef struct { size_t capacity; size_t class; } Block;  /* in front of each allocation */

static size_t rounded(size_t size, size_t *class) {
    if (size <= SMALL) {
        *class = (size + ALIGNMENT - 1) / ALIGNMENT;
        return *class * ALIGNMENT;
    }
    int power = 63 - __builtin_clzll(size - 1);
    size_t quarter = (size_t)1 << (power - 2), quarters = (size - 1) / quarter + 1;  /* 5 to 8 */
    *class = SMALL / ALIGNMENT + (size_t)(power - 10) * 4 + quarters - 4;
    return quarters * quarter;
}

static void *memory_malloc(void *opaque, size_t size) {
    Memory *memory = opaque;
    Head *head = memory->head;
    size_t class, capacity;
    if (size > memory->size)
        return NULL;
    capacity = rounded(size ? size : 1, &class);
    void *reused = head->free[class];
    if (reused) {
        head->free[class] = *(void **)reused;
        return reused;
    }
    if (capacity + sizeof(Block) > memory->size - head->used)
        return NULL;
    Block *block = (Block *)((char *)head + head->used);
    head->used += capacity + sizeof(Block);
    block->capacity = capacity;
    block->class = class;
    return block + 1;
}

static void memory_free(void *opaque, void *pointer) {
    Head *head = ((Memory *)opaque)->head;
    if (!pointer)
        return;
    Block *block = (Block *)pointer - 1;
    *(void **)pointer = head->free[block->class];
    head->free[block->class] = pointer;
}

static void *memory_calloc(void *opaque, size_t count, size_t size) {
    if (size && count > SIZE_MAX / size)
        return NULL;
    void *pointer = memory_malloc(opaque, count * size);
    return pointer ? memset(pointer, 0, count * size) : NULL;
}

static void *memory_realloc(void *opaque, void *pointer, size_t size) {
    if (!pointer)
        return memory_malloc(opaque, size);
    if (!size) {
        memory_free(opaque, pointer);
        return NULL;
    }
    Block *block = (Block *)pointer - 1;
    if (size <= block->capacity)
        return pointer;
    void *moved = memory_malloc(opaque, size);
    if (!moved)
        return NULL;
    memcpy(moved, pointer, block->capacity);
    memory_free(opaque, pointer);
    return moved;
}

static size_t memory_usable_size(const void *pointer) {
    return pointer ? ((const Block *)pointer - 1)->capacity : 0;
}

const struct {
    void *(*js_calloc)(void *, size_t, size_t);
    void *(*js_malloc)(void *, size_t);
    void (*js_free)(void *, void *);
    void *(*js_realloc)(void *, void *, size_t);
    size_t (*js_malloc_usable_size)(const void *);
} memory_functions = {memory_calloc, memory_malloc, memory_free, memory_realloc, memory_usable_size};

/* Address space for `size` bytes, of which pages are used as they are touched; NULL where there is none. */
Memory *memory_new(size_t size) {
    Memory *memory = calloc(1, sizeof(Memory));
    if (!memory)
        return NULL;
    void *mapping = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapping == MAP_FAILED) {
        free(memory);
        return NULL;
    }
    memory->head = mapping;
    memory->size = size;
    memory->head->used = (sizeof(Head) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return memory;
}

/* Remember everything as it is now: the bytes remembered, 0 where there is no room to. */
size_t memory_save(Memory *memory) {
    size_t used = memory->head->used;
    void *copy = realloc(memory->copy, used);
    if (!copy)
        return 0;
    memory->copy = copy;
    memory->copied = used;
    memcpy(copy, memory->head, used);
    return used;
}

/* Make everything as it was when saved. */
void memory_restore(Memory *memory) {
    size_t used = memory->head->used, kept = (memory->copied + KEPT + 4095) / 4096 * 4096;
    if (used > kept)
        madvise((char *)memory->head + kept, memory->size - kept, MADV_DONTNEED);
    memcpy(memory->head, memory->copy, memory->copied);
}

void memory_delete(Memory *memory) {
    munmap(memory->head, memory->size);
    free(memory->copy);
    free(memory);
}
