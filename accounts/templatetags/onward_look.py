"""How values look, for templates (`accounts.adminsite.look`)."""

from django.template import Library

from accounts.adminsite import look

register = Library()
register.simple_tag(look.icon, name="icon")
register.simple_tag(look.id_link, name="id_link")
register.filter("moment", look.moment)
