"""Classes of data set and model find each other by name, and what does not is told."""

import pytest

from outrider.evaluation import classes
from runtime.errors import Refused


def test_names_that_differ_in_writing_only_are_the_same():
    found = classes.match(["Traffic_Light", "hot-dog"], ["person", "traffic light", "hot dog"], {})
    assert found.ids == {"Traffic_Light": 1, "hot-dog": 2}


def test_every_class_without_a_partner_is_told_with_the_nearest_name():
    with pytest.raises(Refused) as refused:
        classes.match(["persom", "spaceship"], ["person", "car"], {})
    assert "'persom': the model has no class of this name; did you mean 'person'?" in str(refused.value)
    assert "'spaceship'" in str(refused.value)
    assert "--map" in str(refused.value)


def test_a_person_names_partners():
    assert classes.match(["motorbike"], ["car", "motorcycle"], {"motorbike": "motorcycle"}).ids == {
        "motorbike": 1
    }


def test_partners_that_do_not_exist_are_refused_on_both_sides():
    with pytest.raises(Refused) as refused:
        classes.match(["motorbike"], ["car"], {"motobike": "cat"})
    assert "the data set has no class 'motobike'; did you mean 'motorbike'?" in str(refused.value)
    assert "the model has no class 'cat'; did you mean 'car'?" in str(refused.value)


def test_what_only_the_data_set_knows_may_be_left_out():
    found = classes.match(["car", "spaceship"], ["car"], {}, shared_only=True)
    assert found.ids == {"car": 0}
    assert found.left_out == ("spaceship",)


def test_nothing_shared_is_refused_even_when_leaving_out():
    with pytest.raises(Refused, match="share no class name"):
        classes.match(["spaceship"], ["car"], {}, shared_only=True)


def test_one_class_of_the_model_does_not_stand_for_two():
    with pytest.raises(Refused, match="at once"):
        classes.match(["car", "auto"], ["car"], {"auto": "car"})


def test_a_package_without_names_is_refused():
    with pytest.raises(Refused, match="--labels"):
        classes.match(["car"], (), {})
