import json

from guardrail.__main__ import run


def test_keys_are_made_shown_and_kept_in_the_home(own_home, capsys):
    assert run(["keys", "init"]) == 0
    made = capsys.readouterr().out
    assert run(["keys", "show"]) == 0
    assert capsys.readouterr().out == made
    assert str(own_home.path / "keys" / "ca.pem") in made
    assert run(["keys", "init", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["authority"] in made and shown["signer"] in made and set(shown) == {"authority", "signer", "expires", "trust"}


def test_no_private_key_is_ever_printed(own_home, capsys):
    for words in (["keys", "init"], ["keys", "show", "--json"]):
        run(words)
        assert "PRIVATE" not in "".join(capsys.readouterr())


def test_showing_keys_that_are_not_there_makes_none(own_home, capsys):
    assert run(["keys", "show"]) == 2
    assert "guardrail keys init" in capsys.readouterr().err
    assert not (own_home.path / "keys").exists()
