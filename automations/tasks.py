"""django-q2 entry points: they carry no arguments and no truth, only say that it is time (DESIGN 5.4)."""


def automation_pass() -> int:
    """`onward.pass`: one bounded pass over routing, schedules and runs. Answers how many things were done."""
    from automations.worker import poison
    from automations.worker.loop import one_pass

    poison.start("pass")  # also where nothing else works, a run that harms its worker is found
    try:
        return one_pass(job="automation")
    finally:
        poison.stop()


def mail_pass() -> int:
    """`onward.mail`: hand over what is queued."""
    from automations.worker.loop import one_pass

    return one_pass(job="mail")


def sweep_pass() -> int:
    """`onward.sweep`: what becomes true by time alone, such as an invoice that is overdue."""
    from automations.worker.loop import one_pass

    return one_pass(job="sweep")


def housekeeping() -> int:
    """`onward.housekeeping`: partitions ahead, retention, old idempotency answers."""
    from automations.services.housekeeping import run

    return run()
