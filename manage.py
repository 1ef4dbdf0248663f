#!/usr/bin/env python
"""Command line of Onward: `python manage.py help` lists what it can do."""

import os
import sys


def main() -> None:
    """Make ready what the command needs and hand the arguments to Django."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    from config.start import prepare

    hold = prepare(sys.argv)
    from django.core.management import execute_from_command_line

    from config.unmigrated import one_sentence

    try:
        with one_sentence(sys.argv):
            execute_from_command_line(sys.argv)
    finally:
        if hold:
            hold.release()


if __name__ == "__main__":
    main()
