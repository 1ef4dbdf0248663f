"""What `manage.py automations` does, apart from reading its arguments (CONTRACTS 2). Exit codes: 0 done, 1 problems found, 2 wrong use."""
