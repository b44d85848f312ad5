"""Federated training: the records stay where they are, and models travel. On Flower (Beutel et al. 2020, arXiv 2007.14390).

    job          what everybody may know of a training: family, settings, schema, rounds; it travels with every message
    counts       closed-form questions, answered by all clients together: no family knows that it is federated
    client       one client's side: its answers, its legs of the training, what it keeps between two messages
    aggregation  from the clients' updates to one: Flower's strategies, behind checks that nothing broken passes
    server       the rounds
    wire         all of it as messages of Flower
    simulation   clients on this machine, by Flower's engine on Ray; or in this process
    federated    the strategy that `fit` takes in place of `Plain` or `Private`

Nothing in here is imported unless a spec has a section `federation`.
"""
