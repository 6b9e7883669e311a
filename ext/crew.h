/* Spreads independent pieces of work over a few threads, or runs them here; polls the cancel flag before each piece.
 *
 * Threads live for one call: starting one costs some 20 microseconds, so callers ask for them only where the work takes longer.
 */
#ifndef QFAST_CREW_H
#define QFAST_CREW_H
#include <pthread.h>
#include <stdint.h>

#define CREW_MAX 64

typedef void (*crew_work)(void *context, int worker, int64_t piece);

typedef struct {
    crew_work work;
    void *context;
    int64_t pieces, next; /* next: taken by atomic increment */
    const volatile unsigned char *cancel;
    int cancelled;
} crew;

typedef struct {
    crew *all;
    int worker;
} crew_hand;

static inline void *crew_member(void *argument) {
    const crew_hand *hand = argument;
    crew *all = hand->all;
    for (;;) {
        const int64_t piece = __atomic_fetch_add(&all->next, 1, __ATOMIC_RELAXED);
        if (piece >= all->pieces) return NULL;
        if (all->cancel && *all->cancel) {
            __atomic_store_n(&all->cancelled, 1, __ATOMIC_RELAXED);
            return NULL;
        }
        all->work(all->context, hand->worker, piece);
    }
}

/* Calls work(context, worker, piece) once for each piece < pieces, worker < threads; 0, or 1 when the flag stopped it. */
static inline int crew_share(int threads, int64_t pieces, const volatile unsigned char *cancel, crew_work work, void *context) {
    crew all = {work, context, pieces, 0, cancel, 0};
    crew_hand hand[CREW_MAX];
    pthread_t thread[CREW_MAX];
    int started = 1;
    for (int j = 0; j < CREW_MAX; j++) hand[j] = (crew_hand){&all, j};
    while (started < threads && started < pieces && started < CREW_MAX &&
           pthread_create(&thread[started], NULL, crew_member, &hand[started]) == 0)
        started++; /* when no more can be had, fewer do the work */
    crew_member(&hand[0]);
    for (int j = 1; j < started; j++) pthread_join(thread[j], NULL);
    return all.cancelled;
}

#endif
