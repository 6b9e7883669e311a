/* Spreads independent pieces of work over a few threads, or runs them here; polls the cancel flag before each piece.
 *
 * Threads live for one call: starting one costs some 20 microseconds, so callers ask for them only where the work takes longer.
 */
#ifndef QFAST_SV_THREADS_H
#define QFAST_SV_THREADS_H
#include <pthread.h>
#include <stdint.h>

#define SV_MAX_THREADS 64

typedef void (*sv_work)(void *context, int worker, int64_t piece);

typedef struct {
    sv_work work;
    void *context;
    int64_t pieces, next; /* next: taken by atomic increment */
    const volatile unsigned char *cancel;
    int cancelled;
} sv_crew;

typedef struct {
    sv_crew *crew;
    int worker;
} sv_hand;

static inline void *sv_crew_member(void *argument) {
    const sv_hand *hand = argument;
    sv_crew *crew = hand->crew;
    for (;;) {
        const int64_t piece = __atomic_fetch_add(&crew->next, 1, __ATOMIC_RELAXED);
        if (piece >= crew->pieces) return NULL;
        if (crew->cancel && *crew->cancel) {
            __atomic_store_n(&crew->cancelled, 1, __ATOMIC_RELAXED);
            return NULL;
        }
        crew->work(crew->context, hand->worker, piece);
    }
}

/* Calls work(context, worker, piece) once for each piece < pieces, worker < threads; 0, or 1 when the flag stopped it. */
static inline int sv_share(int threads, int64_t pieces, const volatile unsigned char *cancel, sv_work work, void *context) {
    sv_crew crew = {work, context, pieces, 0, cancel, 0};
    sv_hand hand[SV_MAX_THREADS];
    pthread_t thread[SV_MAX_THREADS];
    int started = 1;
    for (int j = 0; j < SV_MAX_THREADS; j++) hand[j] = (sv_hand){&crew, j};
    while (started < threads && started < pieces && started < SV_MAX_THREADS &&
           pthread_create(&thread[started], NULL, sv_crew_member, &hand[started]) == 0)
        started++; /* when no more can be had, fewer do the work */
    sv_crew_member(&hand[0]);
    for (int j = 1; j < started; j++) pthread_join(thread[j], NULL);
    return crew.cancelled;
}

#endif
