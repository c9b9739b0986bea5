"""Who may do what at the ports of clients: bearer tokens checked by TokenReview, rights by SubjectAccessReview.

`rights` and `reach` decide and are pure; `guard` remembers what the API server said; `entrance` stands before the core.
Nothing of it exists while `auth` is none. Pods that call out over their links never pass here: their token is checked
when the link begins. Only the gateway's surfaces and its server import it.
"""
