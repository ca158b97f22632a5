"""`reloader`: stands in for stakater/Reloader, command line and all.

    flags     its flags, as pflag reads them        about     what it tells of itself
    settings  flags and environment → what to run   command   the manager, on its port
    rbac      the roles that this takes

One controller, one port, the original's Lease. What the flags mean is the reload
controller's affair; `run` has the same under names of its own.
"""
