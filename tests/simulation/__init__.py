"""Deterministic simulation: the whole engine under one seeded scheduler and one simulated clock (INVARIANTS P3, P10).

What is real, and what is a model:

* *Real*: every line of the worker (routing, advancing, second looks, schedules, marks, reaping, claims, settlements), the services that
  clients call, and the storage, which is PostgreSQL itself. A model of the storage would be a second database written by us, with our
  mistakes in it: row locks, SKIP LOCKED, advisory locks and unique keys decide most of what can go wrong here, so they are the server's.
* *Simulated*: who runs when (`baton`), what time it is, for Python and for the server (`clock`), who dies where (`faults`), and what
  stands outside: mail server, receiver, payment provider, each behind the real protocol code (`peers`).

Several logical workers, each with its advancing and its delivering thread, and several clients are threads with connections of their
own. Only the one that holds the baton runs. It may hand it on before every statement, around every commit and around every call to the
outside; whether it does, and to whom, is drawn from the start value. Whoever waits for a lock is found in the server's lock table, and
the baton goes on without them; when the lock is free they run up to the end of their statement and stand in line again. So at any
moment one thread moves, and the same start value gives the same order of statements, the same ids, the same times: the same trace.

For this the server must be the same each time as well. Each simulation begins on a copy of one prepared database (same pages, same
sequences, no vacuum), and the server's time functions are covered by ours, which read a clock that the scheduler moves.

Points are numbered as they are passed: before and after each commit that wrote, before and after each call outside. A simulation is
walked once without harm to count them, and once more for each of them with a fault there: the process dies (its transaction is gone,
its session locks are free, another takes its place), or only its connection breaks and the process has to make sense of it, or the
server's clock is set back by a minute, alone or with that of everybody else, and all go on.

`python -m tests.simulation --seeds 20 --from 1` walks every point of every start value; `--seed 7 --point 31` repeats one and shows its
trace.

Not simulated: statements within one another (the server's own code is taken to be right), more than one thread delivering in one
process, and time inside of one statement.
"""
