/* The runner's part of a step: a batch computes, and where the runner can, the next one is begun in
 * that time.
 *
 *   engine   schedule, begin n │ schedule, begin n+1 │ end n │ append n, emit │ …, begin n+2
 *   runner                    ▐ n ······················▌▐ n+1 ····························▌▐ n+2
 *
 * What is begun is ended by the next step, whatever has come of its sequences, or when none of them
 * is left. */
#include "engine/engine_state.h"

/* What was submitted waits in any case where no more sequences may run. */
static bool has_mail(struct nano_engine *engine)
{
    const struct nano_scheduler *s = &engine->scheduler;
    const bool is_full = s->num_running == s->config.max_num_seqs;
    pthread_mutex_lock(&engine->lock);
    const bool has_mail = (engine->inbox && !is_full) || engine->cancelled;
    pthread_mutex_unlock(&engine->lock);
    return has_mail;
}

/* Schedules and begins the next batch, unless it is better made when this one is over. An error is
 * that of the next step. Returns the nanoseconds that scheduling took. */
static uint64_t begin_next(struct nano_engine *engine)
{
    struct nano_scheduler *s = &engine->scheduler;
    const uint64_t start = nano_os_clock_ns();
    if (has_mail(engine) || !nano_scheduler_run_ahead(s))
        return nano_os_clock_ns() - start;
    const uint64_t scheduled = nano_os_clock_ns();
    engine->begin_error = (struct nano_error){0};
    engine->begin_error.status =
        engine->setup.runner->begin(engine->runner_state, &s->ahead.batch, &engine->begin_error);
    engine->has_next = true;
    engine->num_steps_ahead++;
    return scheduled - start;
}

/* As nano_engine_compute, under the runner's lock. */
static enum nano_status compute(struct nano_engine *engine, uint64_t *schedule_ns,
                                struct nano_error *err)
{
    struct nano_scheduler *s = &engine->scheduler;
    const struct nano_runner *runner = engine->setup.runner;
    if (s->step.is_ahead) {
        if (engine->begin_error.status != NANO_OK) {
            *err = engine->begin_error;
            return err->status;
        }
    } else if (engine->runs_ahead && nano_scheduler_may_run_ahead(s)) {
        const enum nano_status status = runner->begin(engine->runner_state, &s->step.batch, err);
        if (status != NANO_OK)
            return status;
    } else {
        return runner->run(engine->runner_state, &s->step.batch, err);
    }
    *schedule_ns = begin_next(engine);
    return runner->end(engine->runner_state, &s->step.batch, err);
}

enum nano_status nano_engine_compute(struct nano_engine *engine, uint64_t *schedule_ns,
                                     struct nano_error *err)
{
    *schedule_ns = 0;
    pthread_mutex_lock(&engine->runner_lock);
    const enum nano_status status = compute(engine, schedule_ns, err);
    pthread_mutex_unlock(&engine->runner_lock);
    return status;
}

bool nano_engine_take_next(struct nano_engine *engine)
{
    if (!engine->has_next)
        return false;
    engine->has_next = false;
    nano_scheduler_advance(&engine->scheduler);
    return true;
}

void nano_engine_drop_next(struct nano_engine *engine)
{
    struct nano_scheduler *s = &engine->scheduler;
    struct nano_error ignored; /* if the runner has failed it will do so again */
    if (!engine->has_next || s->ahead.num_live > 0)
        return;
    if (engine->begin_error.status == NANO_OK) {
        pthread_mutex_lock(&engine->runner_lock);
        (void)engine->setup.runner->end(engine->runner_state, &s->ahead.batch, &ignored);
        pthread_mutex_unlock(&engine->runner_lock);
    }
    engine->has_next = false;
    nano_scheduler_drop_ahead(s);
}
