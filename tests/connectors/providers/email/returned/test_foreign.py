"""What servers say in other languages: whose fault it was."""

from __future__ import annotations

import pytest

from connectors.providers.email.returned.cause import find_cause

SAID = {
    "user_unknown": """
        Diese E-Mail-Adresse ist nicht bekannt|Die Adresse ist ungültig|Es gibt keinen Benutzer mit diesem Namen|
        Kein solcher Benutzer|Das Konto wurde gelöscht|Cette adresse n'existe plus|Compte fermé|La cuenta no existe|
        Dirección inválida|Cuenta cancelada|Usuário desconhecido|Destinatário desconhecido|Gebruiker onbekend|
        Onbekende gebruiker|Okänd mottagare|Ukjent bruker|Ukendt bruger|Käyttäjää ei löydy|Nieznany użytkownik|
        Nie ma takiego użytkownika|Neznámý uživatel|Uživatel neexistuje|Ismeretlen felhasználó|
        Неизвестный пользователь|Користувача не знайдено|ユーザーが不明です|المستخدم غير موجود|המשתמש לא קיים|
        Χρήστης δεν υπάρχει|Penerima tidak ditemukan|Kullan\u0131c\u0131 bulunamad\u0131|
        Benutzer nicht vorhanden|Das Postfach wurde geschlossen|Utilisateur non trouvé|La casella è stata chiusa|
        Caixa postal inexistente|Endereço inválido|Ящик удалён|Nieprawidłowy adres odbiorcy|
        Böyle bir kullan\u0131c\u0131 yok|Mottagaren okänd|このアドレスは現在使われておりません|该用户已注销|
        Lieber Absender, dieses Konto wurde geschlossen|Gentile mittente, la casella è stata cancellata|
        없는 메일 주소입니다|550 cuda_nsu a@b.example""",
    "host_unknown": """
        Die Domain existiert nicht|Der Zielrechner wurde nicht gefunden|Le domaine n'existe pas|Hôte inconnu|
        El dominio no existe|O domínio não existe|Домен не существует""",
    "moved": "550 <a@b.example> has moved to <c@d.example>",
    "takes_no_mail": "550 This address no longer accepts mail.",
    "full": """
        Die Mailbox des Empfängers ist voll|Benutzer hat das Speichervolumen überschritten|
        Benutzer hat zuviele Mails auf dem Server|Quota dépassé|Cuota excedida|La casilla de correo está llena|
        Cota excedida|Postvak is vol|Brevlådan är full|Postkassen er fuld|Skrzynka pocztowa jest pełna|Schránka je plná|
        Posta kutusu dolu|
        Speicherplatz erschöpft|Espace disque insuffisant|Quota superata|Недостаточно места|
        صندوق البريد ممتلئ|Hộp thư đã đầy""",
    "too_big": "Die Nachricht ist zu groß|Le message est trop volumineux|Mensaje demasiado grande",
    "sender_refused": """
        Die Absenderadresse existiert nicht|Le domaine de l'expéditeur n'existe pas|El dominio del remitente no existe|
        送信元ドメインが存在しません|Het adres van de afzender is onbekend|
        Nieprawidłowy adres nadawcy: nieznany nadawca|Endereço do remetente inválido|Indirizzo del mittente chiuso""",
    "blocked": "Ihre IP-Adresse ist unbekannt|La dirección IP no existe en DNS inverso",
    "rate": "550 Domain frequency limited",
}


@pytest.mark.parametrize(
    ("cause", "text"), [(cause, text.strip()) for cause in SAID for text in SAID[cause].split("|")]
)
def test_the_words_of_other_languages_are_known(cause: str, text: str) -> None:
    found = find_cause(None, text, text)
    assert (found.name, found.hard) == (cause, cause in ("user_unknown", "host_unknown", "moved", "takes_no_mail"))
