"""Alerts: what became of a reload, told to chats and to whoever takes JSON.

    News ─▶ alert     which of it is worth an alert, and its words (pure)
              └▶ desk     a listener: whom it concerns
                   └▶ sender   a queue for each sink, batches, one message a second
                        └▶ formats   alerts → the body that a sink takes (pure)
    sinks    where, in which format: of the settings, or of a ReloaderConfig

A reload never waits for any of it: the listener puts alerts into queues with a bound,
and returns. The URL of a chat's webhook is a secret as a whole. It is in no log, Event,
metric or error; one that is kept in a Secret is read when something is sent, and
forgotten.
"""
